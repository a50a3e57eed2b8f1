import type { EventEnvelope } from "./envelope.ts";
import { excerpt, PayloadError, PubSubError } from "./errors.ts";

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

/** @throws PubSubError `INVALID_OPTION` unless every one of them is a Standard Schema. */
export function checkSchemas(schemas: Schemas): void {
  for (const [type, schema] of Object.entries(schemas))
    if (typeof (schema as StandardSchema | null | undefined)?.["~standard"]?.validate !== "function")
      throw new PubSubError(
        "INVALID_OPTION",
        `The schema of ${excerpt(type)} does not follow Standard Schema; use one of zod 4, valibot 1, arktype 2 or another library that does.`,
      );
}

/**
 * The payload as the schema of its type gives it; as it is where there is none.
 *
 * @throws PayloadError with the path, for a payload that does not fit, for a schema that throws, and for one that
 * answers with a promise
 */
export function checkPayload(schemas: Schemas, { type, id, payload }: EventEnvelope): unknown {
  const schema = Object.hasOwn(schemas, type) ? schemas[type] : undefined;
  if (schema === undefined) return payload;
  const result = answerOf(schema, type, id, payload);
  if (result.issues === undefined) return result.value;
  const [issue] = result.issues;
  // Libraries differ: keys, objects that hold a key, subclasses of Array.
  const path = Array.from(issue?.path ?? [], (step) => (typeof step === "object" ? step.key : step));
  throw new PayloadError(type, id, `${["payload", ...path.map(String)].join(".")}: ${issue?.message ?? "invalid"}`, {
    path,
  });
}

/** @throws PayloadError unless the schema answers, and at once. */
function answerOf(schema: StandardSchema, type: string, id: string, payload: unknown): StandardResult<unknown> {
  let answer: StandardResult<unknown> | Promise<StandardResult<unknown>>;
  try {
    answer = schema["~standard"].validate(payload);
  } catch (cause) {
    throw new PayloadError(type, id, `The schema threw instead of answering: ${excerptOf(cause)}`, { cause });
  }
  if (typeof answer !== "object" || answer === null)
    throw new PayloadError(type, id, `The schema answered with ${excerpt(answer)} instead of a result`);
  if (!("then" in answer)) return answer;
  answer.then(undefined, () => undefined);
  throw new PayloadError(
    type,
    id,
    "The schema is asynchronous, which publishing cannot wait for; use a synchronous one",
  );
}

function excerptOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : excerpt(cause);
}
