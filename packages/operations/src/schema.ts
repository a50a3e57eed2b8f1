/**
 * @module Checks by Standard Schema and JSON Schema, which other packages of this repository share. Not for users: it may change
 * with any version.
 */
import { PubSubError } from "@alkdev/pubsub";
import type { StandardSchema } from "@alkdev/pubsub";

/** A schema in JSON Schema, draft 4, 7, 2019-09 or 2020-12 (the default; `$schema` says which). */
export type JsonSchema = boolean | { readonly [keyword: string]: unknown };

/** What an operation may be described with: zod, valibot, arktype and others by Standard Schema, or JSON Schema. */
export type OperationSchema = StandardSchema | JsonSchema;

/** One thing that does not fit. */
export interface Issue {
  /** Where; empty where it is the value as a whole. */
  readonly path: readonly (string | number)[];
  readonly message: string;
}

/** The value as the schema gives it, or what is wrong with it. */
export type Checked = { readonly value: unknown; readonly issues?: undefined } | { readonly issues: readonly Issue[] };

/** Checks values; a promise where the schema is asynchronous. */
export type Check = (value: unknown) => Checked | Promise<Checked>;

/**
 * Makes a check of a schema. The validator of JSON Schema is loaded when the first such schema comes.
 *
 * @throws PubSubError `INVALID_OPTION` for what is neither, and for a draft that is not known
 */
export async function checkOf(schema: OperationSchema): Promise<Check> {
  const standard = (schema as Partial<StandardSchema> | null)?.["~standard"];
  if (typeof standard?.validate === "function")
    return (value) => {
      const answer = standard.validate(value);
      return answer instanceof Promise ? answer.then(fromStandard) : fromStandard(answer);
    };
  if (typeof schema !== "boolean" && (typeof schema !== "object" || schema === null))
    throw new PubSubError(
      "INVALID_OPTION",
      "input and output must be a schema by Standard Schema (zod 4, valibot 1, arktype 2), or JSON Schema.",
    );
  const { Validator } = await import("@cfworker/json-schema");
  // It does not compile to code (no eval), so pages whose policy forbids that can use it.
  const validator = new Validator(schema, draftOf(schema as JsonSchema), false);
  return (value) => {
    // JSON has no undefined; a handler without input is asked with null.
    const { valid, errors } = validator.validate(value ?? null);
    if (valid) return { value };
    // The outer errors only say that an inner one does not fit.
    const last = errors.filter(({ keyword }) => !OUTER.has(keyword));
    return {
      issues: (last.length > 0 ? last : errors).map(({ instanceLocation, error }) => ({
        path: pathOf(instanceLocation),
        message: error,
      })),
    };
  };
}

const OUTER: ReadonlySet<string> = new Set(["properties", "items", "prefixItems", "additionalProperties", "$ref"]);

type Draft = "4" | "7" | "2019-09" | "2020-12";

function draftOf(schema: JsonSchema): Draft {
  const url = typeof schema === "boolean" ? undefined : schema["$schema"];
  if (url === undefined) return "2020-12";
  const draft = /draft(?:-0)?[-/]?(4|7|2019-09|2020-12)\b/.exec(typeof url === "string" ? url : "")?.[1];
  if (draft !== undefined) return draft as Draft;
  throw new PubSubError(
    "INVALID_OPTION",
    `JSON Schema ${JSON.stringify(url)} is not known; use draft 4, 7, 2019-09 or 2020-12.`,
  );
}

/** A JSON Pointer as a fragment (`#/items/0`) taken apart. */
function pathOf(pointer: string): (string | number)[] {
  return pointer
    .split("/")
    .slice(1)
    .map((part) => decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~"))
    .map((part) => (/^\d+$/.test(part) ? Number(part) : part));
}

function fromStandard(result: Awaited<ReturnType<StandardSchema["~standard"]["validate"]>>): Checked {
  if (result.issues === undefined) return { value: result.value };
  return {
    issues: result.issues.map(({ message, path = [] }) => ({
      message,
      // Libraries differ: keys, objects that hold a key, subclasses of Array.
      path: Array.from(path, (step) => {
        const key = typeof step === "object" ? step.key : step;
        return typeof key === "number" ? key : String(key);
      }),
    })),
  };
}

/** The issues as one sentence. */
export function sayIssues(issues: readonly Issue[]): string {
  return issues
    .slice(0, 3)
    .map(({ path, message }) => (path.length === 0 ? message : `${path.join(".")}: ${message}`))
    .join("; ");
}
