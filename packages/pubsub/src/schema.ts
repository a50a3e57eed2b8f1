import type { EventEnvelope } from "./envelope.ts";
import { PayloadError } from "./errors.ts";

/** A schema by the Standard Schema specification, version 1: zod, valibot, arktype and others are such schemas. */
export interface StandardSchema<Input = unknown, Output = Input> {
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>;
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
  };
}

/** What a schema says of a value. */
export type StandardResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly StandardIssue[] };

/** One thing that is wrong with a value. */
export interface StandardIssue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** Schemas by event type. */
export type Schemas = Readonly<Record<string, StandardSchema>>;

/** The payloads that are published, by event type. */
export type SchemaInputs<S extends Schemas> = {
  [K in keyof S]: NonNullable<S[K]["~standard"]["types"]>["input"];
};

/** The payloads that subscribers get, by event type. */
export type SchemaOutputs<S extends Schemas> = {
  [K in keyof S]: NonNullable<S[K]["~standard"]["types"]>["output"];
};

/**
 * The payload as the schema of its type gives it; as it is where there is none.
 *
 * @throws PayloadError with the path, for a payload that does not fit, and for a schema that answers with a promise
 */
export function checkPayload(schemas: Schemas, { type, id, payload }: EventEnvelope): unknown {
  if (!Object.hasOwn(schemas, type)) return payload;
  const result = schemas[type]?.["~standard"].validate(payload);
  if (result === undefined) return payload;
  if (result instanceof Promise) {
    result.catch(() => undefined);
    throw new PayloadError(
      type,
      id,
      "The schema is asynchronous, which publishing cannot wait for; use a synchronous one",
    );
  }
  if (result.issues === undefined) return result.value;
  const [issue] = result.issues;
  // Libraries differ: keys, objects that hold a key, subclasses of Array.
  const path = Array.from(issue?.path ?? [], (step) => (typeof step === "object" ? step.key : step));
  throw new PayloadError(type, id, `${["payload", ...path.map(String)].join(".")}: ${issue?.message ?? "invalid"}`, {
    path,
  });
}
