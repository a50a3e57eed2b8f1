/** The part of `mqtt` that is used. */
import { describe, PubSubError } from "../errors.ts";

// What an event brings differs from event to event.
// oxlint-disable-next-line typescript/no-explicit-any
export type Listener = (...args: any[]) => void;

export type MqttQoS = 0 | 1 | 2;

/** What a broker says of itself when a client connects (version 5). */
interface ServerProperties {
  readonly maximumPacketSize?: number | undefined;
  readonly maximumQoS?: number | undefined;
  readonly receiveMaximum?: number | undefined;
  readonly sharedSubscriptionAvailable?: boolean | undefined;
  readonly subscriptionIdentifiersAvailable?: boolean | undefined;
}

/** What comes with a message. */
export interface MqttMessage {
  readonly retain?: boolean;
  readonly properties?: { readonly subscriptionIdentifier?: number | readonly number[] | undefined } | undefined;
}

interface SubscribeOptions {
  readonly qos: MqttQoS;
  readonly nl?: boolean;
  readonly rap?: boolean;
  readonly rh?: number;
}

type Answer = (error?: Error | null, ...more: never[]) => void;

/** A client of `mqtt` 5: the part of it that is used. */
export interface MqttClient {
  readonly connected: boolean;
  readonly disconnecting: boolean;
  readonly disconnected: boolean;
  readonly options: {
    readonly protocolVersion?: number | undefined;
    readonly clean?: boolean | undefined;
    readonly resubscribe?: boolean | undefined;
    readonly reconnectPeriod?: number | undefined;
    readonly reconnectOnConnackError?: boolean | undefined;
    readonly manualConnect?: boolean | undefined;
  };
  readonly serverProperties?: ServerProperties | undefined;
  /** The socket, once there is one. */
  readonly stream?: object | undefined;
  on(event: string, listener: Listener): unknown;
  off(event: string, listener: Listener): unknown;
  connect(): unknown;
  sendPing(): void;
  publish(topic: string, payload: string, options: { qos: MqttQoS }, answer: Answer): unknown;
  subscribe(
    topics: Record<string, SubscribeOptions> & { resubscribe?: boolean },
    options: { properties?: { subscriptionIdentifier: number } },
    answer: Answer,
  ): unknown;
  unsubscribe(topic: string, answer: Answer): unknown;
  getLastMessageId(): number;
  removeOutgoingMessage(messageId: number): unknown;
}

/** @throws PubSubError `INVALID_OPTION` */
export function checkClient(client: MqttClient): void {
  if (typeof client?.removeOutgoingMessage !== "function" || typeof client.subscribe !== "function")
    throw new PubSubError("INVALID_OPTION", "client has to be what connect() of mqtt gave.");
  if (client.options.clean === false)
    throw new PubSubError(
      "INVALID_OPTION",
      "The client keeps its session at the broker, which would deliver behind a gap what the gap is for. Connect with clean: true.",
    );
}

export function isVersion5({ options }: MqttClient): boolean {
  return options.protocolVersion === 5;
}

/** Has small packets sent at once, which else wait for the acknowledgement of the one before: 40 ms, where that is put off. */
export function hurry({ stream }: MqttClient): void {
  const socket: { setNoDelay?(on: boolean): void } | undefined = stream;
  socket?.setNoDelay?.(true);
}

/** Has all that is written before `send` is called go out in one piece: the client writes its answer to each event by itself. */
export function gather({ stream }: MqttClient): { send(): void } {
  const writable: { cork?(): void; uncork?(): void } | undefined = stream;
  writable?.cork?.();
  return { send: () => writable?.uncork?.() };
}

/** Gives up the connection for another one. */
export function drop({ stream }: MqttClient): void {
  const socket: { destroy?(): void } | undefined = stream;
  socket?.destroy?.();
}

/** Whether the client will not connect again by itself. */
export function hasStopped(client: MqttClient): boolean {
  // It stops where a broker says no, and tells nobody.
  const { reconnectSuppressed } = client as { readonly reconnectSuppressed?: boolean };
  return client.options.reconnectPeriod === 0 || reconnectSuppressed === true;
}

/** What a broker says to whom it does not let in: wrong client, user, password, version or rights. */
const REFUSALS: ReadonlySet<unknown> = new Set([1, 2, 4, 5, 132, 133, 134, 135, 138, 140]);

/** @returns why the broker does not let this client in, where that is what happened */
export function refusalOf(error: unknown): PubSubError | undefined {
  const { code } = (error ?? {}) as { code?: unknown };
  if (!REFUSALS.has(code)) return undefined;
  return new PubSubError("REFUSED", `The broker refuses this client: ${describe(error)}.`, { cause: error });
}
