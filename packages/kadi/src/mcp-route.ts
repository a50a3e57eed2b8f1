import { createHash, scrypt, timingSafeEqual } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { promisify } from "node:util";
import { PubSubError } from "@alkdev/pubsub";
import type { KadiMcpOptions } from "./broker-api.ts";
import type { Identity } from "./identity.ts";
import { CODES, isObject, RpcError } from "./json-rpc.ts";
import type { Params } from "./json-rpc.ts";
import { McpSession } from "./mcp-session.ts";
import { GLOBAL } from "./participant-events.ts";
import type { Common } from "./participant.ts";

/** What the route needs of its broker. */
export interface McpRouteOwner {
  readonly common: Common;
  readonly onError: (error: unknown) => void;
  /** Whether there may be one session more. */
  hasRoom(): boolean;
}

/** Who may come with one token, and where to. */
interface Access {
  readonly digest: Buffer;
  readonly identity: Identity;
  readonly networks: readonly string[];
  /** The broker, which lets this token in. */
  readonly common: Common;
}

/** Over so many times the limit of a body, the rest is not even read. */
const MAX_DISCARDED = 16;

/** `POST`, `GET` and `DELETE /mcp`: who has a token, and whose session it is. */
export class McpRoute {
  readonly #owner: McpRouteOwner;
  readonly #accesses: readonly Access[];
  readonly #sessions = new Map<string, { readonly session: McpSession; readonly access: Access }>();
  /** Sessions that are not among them yet. */
  #opening = 0;
  #isClosed = false;

  /** @throws PubSubError `INVALID_OPTION` as a rejection */
  static async open(options: readonly KadiMcpOptions[], owner: McpRouteOwner): Promise<McpRoute> {
    return new McpRoute(owner, await Promise.all(options.map((each) => accessOf(each, owner.common))));
  }

  private constructor(owner: McpRouteOwner, accesses: readonly Access[]) {
    this.#owner = owner;
    this.#accesses = accesses;
  }

  get size(): number {
    return this.#sessions.size + this.#opening;
  }

  /** Answers a request that may come here; a stream as long as it lasts. */
  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      await this.#answer(request, response);
    } catch (error) {
      const refused = error instanceof Refused ? error : new Refused(500, CODES.INTERNAL, "The broker failed.");
      if (refused !== error) this.#owner.onError(error);
      if (response.headersSent || response.destroyed) return void response.destroy();
      const body = JSON.stringify({ jsonrpc: "2.0", id: refused.id, error: refused.toObject() });
      response.writeHead(refused.status, { "content-type": "application/json", ...refused.headers }).end(body);
    }
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const access = this.#accessOf(request);
    const { method = "" } = request;
    if (!METHODS.includes(method))
      throw new Refused(405, CODES.INVALID_REQUEST, "Use POST, GET or DELETE.", { allow: METHODS.join(", ") });
    const id = request.headers["mcp-session-id"];
    const known = id === undefined ? undefined : this.#sessions.get(String(id));
    // Another's session does not exist.
    if (id !== undefined && known?.access !== access)
      throw new Refused(404, -32_001, "There is no such session, or no longer; send initialize again.");
    if (method === "DELETE" && known !== undefined) {
      await known.session.end("The client ended the session.");
      return void response.writeHead(200).end();
    }
    const message = method === "POST" ? await this.#messageOf(request) : undefined;
    const session = known?.session ?? (await this.#begin(access, message));
    if (message !== undefined && !session.take())
      throw new Refused(429, CODES.LIMIT, "Too many messages a second (limits.rate).").to(message);
    await session.answer(request, response, message);
    if (!session.isInitialized) await session.end("It was not initialized.");
  }

  /** @throws Refused 401 */
  #accessOf({ headers: { authorization = "" } }: IncomingMessage): Access {
    const token = /^bearer +(\S+)$/i.exec(authorization.trim())?.[1];
    const digest = digestOf(token ?? "");
    let access: Access | undefined;
    // All are compared, and whole, so that the time says nothing.
    for (const each of this.#accesses) if (timingSafeEqual(each.digest, digest)) access = each;
    if (token !== undefined && access !== undefined) return access;
    throw new Refused(
      401,
      CODES.UNAUTHENTICATED,
      "Send the header Authorization: Bearer, and the broker's MCP token.",
      {
        "www-authenticate": `Bearer realm="kadi"${token === undefined ? "" : ', error="invalid_token"'}`,
      },
    );
  }

  /** @throws Refused */
  async #begin(access: Access, message: Params | undefined): Promise<McpSession> {
    if (message?.["method"] !== "initialize")
      throw new Refused(400, CODES.INVALID_REQUEST, "Send initialize first, then the header Mcp-Session-Id.").to(
        message,
      );
    if (this.#isClosed || !this.#owner.hasRoom())
      throw new Refused(503, CODES.LIMIT, "This broker has no room for more sessions (limits.sessions).").to(message);
    const { common, identity, networks } = access;
    const { onError } = this.#owner;
    const over = ({ id }: McpSession): unknown => this.#sessions.delete(id);
    this.#opening++;
    try {
      const session = await McpSession.open({ common, onError, over }, identity, nameOf(message), networks);
      this.#sessions.set(session.id, { session, access });
      return session;
    } finally {
      this.#opening--;
    }
  }

  /** @throws Refused */
  async #messageOf(request: IncomingMessage): Promise<Params> {
    const { frame } = this.#owner.common.limits;
    const body = await bodyOf(request, frame);
    if (body === undefined)
      throw new Refused(413, CODES.LIMIT, `A message may have ${frame} bytes (limits.frame).`, { connection: "close" });
    let message: unknown;
    try {
      message = JSON.parse(body);
    } catch {
      throw new Refused(400, CODES.PARSE, "Not JSON.");
    }
    if (isObject(message)) return message;
    throw new Refused(
      400,
      CODES.INVALID_REQUEST,
      "Send one JSON-RPC message, which is an object; batches are not taken.",
    );
  }

  /** Ends every session. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all(Array.from(this.#sessions.values(), ({ session }) => session.end("The broker was closed.")));
  }
}

const METHODS: readonly string[] = ["POST", "GET", "DELETE"];

/** A request that is answered with an error. */
class Refused extends RpcError {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  id: string | number | null = null;

  constructor(status: number, code: number, message: string, headers: Readonly<Record<string, string>> = {}) {
    super(code, message);
    this.status = status;
    this.headers = headers;
  }

  /** Names the message that it answers. */
  to(message: Params | undefined): this {
    const id = message?.["id"];
    if (typeof id === "string" || typeof id === "number") this.id = id;
    return this;
  }
}

async function accessOf({ token, networks = [GLOBAL] }: KadiMcpOptions, common: Common): Promise<Access> {
  if (typeof token !== "string" || !/^[\x21-\x7e]+$/.test(token))
    throw new PubSubError("INVALID_OPTION", "mcp.token must be visible ASCII characters without spaces, one at least.");
  if (networks.length === 0 || networks.length > common.limits.networks)
    throw new PubSubError("INVALID_OPTION", `mcp.networks must name 1 to ${common.limits.networks} networks.`);
  // Providers see the id: it must not help to guess the token, and be the same after a restart.
  const key = (await promisify(scrypt)(token, "kadi.mcp", 32)) as Buffer;
  const keyId = key.toString("hex");
  return {
    digest: digestOf(token),
    identity: { keyId, agentId: keyId },
    networks,
    common: { ...common, authorize: ({ networks: wanted }) => wanted },
  };
}

function digestOf(token: string): Buffer {
  return createHash("sha256").update(token).digest();
}

/** What the client says it is called. */
function nameOf({ params }: Params): string | undefined {
  const info = isObject(params) ? params["clientInfo"] : undefined;
  const name = isObject(info) ? info["name"] : undefined;
  return typeof name === "string" && name !== "" ? name.slice(0, 256) : undefined;
}

/** The body as text; undefined if it has more bytes. */
async function bodyOf(request: IncomingMessage, limit: number): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    // The rest is read and dropped, because a client that still sends does not hear the answer; up to where that is abuse.
    if (size > limit * MAX_DISCARDED) break;
    if (size <= limit) chunks.push(chunk);
  }
  return size <= limit ? Buffer.concat(chunks).toString("utf8") : undefined;
}
