import type { EventEnvelope } from "../envelope.ts";
import { PayloadError } from "../errors.ts";
import { Gathering } from "../gathering.ts";
import { Ring } from "../ring.ts";
import { stringifyWith } from "../serializer.ts";
import type { Serializer } from "../serializer.ts";
import { utf8Length } from "../topic.ts";
import type { Posted, Waiter } from "../transport.ts";
import { utf8 } from "../utf8.ts";
import { interrupted, refusal } from "./nats-client.ts";
import type { NatsConnection } from "./nats-client.ts";
import type { Watched } from "./nats-connection.ts";
import { checkLine, subjectOf } from "./nats-subject.ts";

/** Bytes that a character of JavaScript has at most in UTF-8. */
const BYTES = 3;

/** A message without an answer. */
class Publication implements Posted {
  readonly subject: string;
  waiter: Waiter | undefined = undefined;
  refused = false;

  constructor(subject: string) {
    this.subject = subject;
  }
}

/** What one question covers. */
interface Turn {
  readonly question: Promise<void>;
  readonly publications: Publication[];
  over: boolean;
}

/** What is on its way to NATS. */
export class Publications {
  readonly #connection: NatsConnection;
  readonly #watched: Watched;
  readonly #prefix: string;
  readonly #serializer: Serializer;
  readonly #gathering: Gathering | undefined;
  /** The topic that was published to last, and its subject. */
  #last = { type: "", id: "", subject: "" };
  /** Without an answer, in order. No Set: what it once held stays until the next full collection. */
  readonly #turns = new Ring<Turn>();

  constructor(connection: NatsConnection, watched: Watched, prefix: string, serializer: Serializer, batch: boolean) {
    this.#connection = connection;
    this.#watched = watched;
    this.#prefix = prefix;
    this.#serializer = serializer;
    if (batch) this.#gathering = new Gathering((subject, text, first) => this.#publish(subject, text, first));
  }

  /** The connection is gone, and nobody answers. */
  end(): void {
    this.#turns.clear();
  }

  get maxPayload(): number | undefined {
    return this.#connection.info?.max_payload;
  }

  /** @throws PayloadError, PubSubError `LIMIT` */
  post(envelope: EventEnvelope): Posted {
    const subject = this.#subjectOf(envelope);
    if (this.#gathering === undefined)
      return this.#publish(subject, stringifyWith(this.#serializer, envelope), envelope);
    return this.#gathering.add(subject, envelope, (this.maxPayload ?? Infinity) / BYTES);
  }

  /** The server refused to publish to a subject: it says so in the order in which it was asked. */
  refused(subject: string | undefined, error: unknown): void {
    for (let i = 0; i < this.#turns.size; i++)
      for (const publication of (this.#turns.at(i) as Turn).publications) {
        if (publication.subject !== subject || publication.refused) continue;
        publication.refused = true;
        return publication.waiter?.refused(refusal("publish to", subject, error));
      }
  }

  /** @param first what it is a message of, with others perhaps */
  #publish(subject: string, text: string, first: EventEnvelope): Publication {
    checkSize(first, text, this.maxPayload ?? Infinity);
    // The client would keep it for its next connection.
    if (!this.#watched.isUp) throw interrupted(new Error("it was not sent"));
    const publication = new Publication(subject);
    // Asked before the client writes, so that the question goes along in one piece.
    const { publications } = this.#turn();
    publications.push(publication);
    try {
      this.#connection.publish(subject, utf8(text));
    } catch (error) {
      // Closed, or about to be.
      publications.pop();
      throw interrupted(error);
    }
    return publication;
  }

  #turn(): Turn {
    const question = this.#watched.questions.ask();
    const last = this.#turns.at(-1);
    if (last?.question === question) return last;
    const turn: Turn = { question, publications: [], over: false };
    this.#turns.push(turn);
    question.then(
      () => {
        this.#forget(turn);
        for (const { waiter, refused } of turn.publications) if (!refused) waiter?.accepted();
      },
      (error: unknown) => {
        this.#forget(turn);
        for (const { waiter } of turn.publications) waiter?.refused(error);
      },
    );
    return turn;
  }

  #forget(turn: Turn): void {
    turn.over = true;
    while (this.#turns.at(0)?.over === true) this.#turns.shift();
  }

  /** @throws PubSubError `LIMIT` */
  #subjectOf({ type, id }: EventEnvelope): string {
    // Most publishers repeat a topic.
    if (type !== this.#last.type || id !== this.#last.id) {
      const subject = subjectOf(this.#prefix, type, id);
      checkLine({ type, id }, subject.length);
      this.#last = { type, id, subject };
    }
    return this.#last.subject;
  }
}

/** @throws PayloadError */
function checkSize({ type, id }: EventEnvelope, text: string, limit: number): void {
  if (text.length * BYTES <= limit) return;
  const bytes = utf8Length(text);
  if (bytes <= limit) return;
  throw new PayloadError(
    type,
    id,
    `The event has ${bytes} bytes, the NATS server takes ${limit}; send less, or raise its max_payload`,
  );
}
