import { excerpt, PubSubError } from "../errors.ts";

/** How URLs of a scheme look. */
export interface Form {
  /** One that somebody might type. */
  readonly example: string;
  /** What may stand in the query; absent: nothing. `any`: it is the server's, and not looked at. */
  readonly query?: readonly string[] | "any";
}

/** A URL that was read. */
export interface Address {
  /** With its colon: `redis:`. */
  readonly scheme: string;
  readonly url: URL;
  /** The address as messages show it: without user, password and query. */
  readonly name: string;
  /** Without the brackets of an IPv6 address. */
  readonly host: string;
  /** `undefined` where the URL says none. */
  readonly port: number | undefined;
  readonly user: string | undefined;
  readonly password: string | undefined;
  /** Without the slash that begins it; percent-encoding is undone. */
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
}

/**
 * Reads a URL, of which no message shows more than its scheme before it was found to have no password.
 *
 * @param forms by scheme, in the order in which messages list them
 * @throws PubSubError `INVALID_OPTION`
 */
export function readAddress(given: string | URL, forms: Readonly<Record<string, Form>>): Address {
  const schemes = Object.keys(forms);
  const known = `Known are ${schemes.join(" ")}, as in redis://localhost:6379.`;
  if (!(given instanceof URL) && typeof given !== "string")
    throw invalid(`A URL is a text, not ${excerpt(given)}. ${known}`);
  const scheme =
    given instanceof URL ? given.protocol : (/^\s*([a-z][a-z\d+.-]*:)/i.exec(given)?.[1] ?? "").toLowerCase();
  const form = Object.hasOwn(forms, scheme) ? forms[scheme] : undefined;
  if (form === undefined)
    throw invalid(
      scheme === ""
        ? `There is no scheme in that URL. ${known}`
        : `Nothing opens URLs that begin with ${excerpt(scheme)}. ${known}`,
    );
  let url: URL;
  try {
    url = new URL(given);
  } catch {
    throw invalid(
      `That is no URL of ${scheme}, which look like ${form.example}. In a user or password percent-encode what is no letter or digit (# is %23, / is %2F, @ is %40).`,
    );
  }
  const { protocol, host, pathname } = url;
  const name =
    protocol === "memory:"
      ? `${protocol}${host}${pathname}`
      : `${protocol}//${host}${pathname === "/" ? "" : pathname}`;
  if (protocol !== "memory:" && host === "") throw invalid(`${protocol} needs a host, as in ${form.example}.`);
  if (url.hash !== "") throw invalid(`${name} has a part behind #, which means nothing here; in a password # is %23.`);
  return {
    scheme,
    url,
    name,
    host: url.hostname.replace(/^\[|\]$/g, ""),
    port: url.port === "" ? undefined : Number(url.port),
    user: decoded(url.username, name) || undefined,
    password: decoded(url.password, name) || undefined,
    path: decoded(pathname.replace(/^\//, ""), name),
    query: form.query === "any" ? {} : queryOf(url, name, form.query ?? []),
  };
}

function queryOf({ searchParams }: URL, name: string, known: readonly string[]): Record<string, string> {
  const query: Record<string, string> = {};
  for (const [key, value] of searchParams) {
    if (!known.includes(key))
      throw invalid(
        `${name} has ${excerpt(key)} in its query, which means nothing here; ${known.length === 0 ? "it takes none" : `it takes ${known.join(", ")}`}.`,
      );
    if (Object.hasOwn(query, key)) throw invalid(`${name} has ${key} in its query more than once.`);
    query[key] = value;
  }
  return query;
}

function decoded(text: string, name: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalid(`${name} has a % in it that begins no percent-encoding; a % itself is %25.`);
  }
}

/** @throws PubSubError `INVALID_OPTION` where the address has a path that matches nothing */
export function checkPath({ name, path }: Address, form: RegExp, what: string): void {
  if (!form.test(path)) throw invalid(`${name} has a path, where ${what}.`);
}

function invalid(message: string): PubSubError {
  return new PubSubError("INVALID_OPTION", message);
}
