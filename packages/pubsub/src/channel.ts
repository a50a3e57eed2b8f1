/**
 * The contract of a pipe: something that carries frames, in order, between two ends, and can close.
 *
 * A Channel knows nothing of events. `connectLink` (or a hub) calls `open` once, at once, then `send` and `close`; the
 * Channel calls the receiver. A Channel never reconnects: whoever owns the socket makes the next Channel.
 */
export interface Channel {
  /** `json`: frames are strings of JSON. `clone`: frames are values that the channel copies (structured clone). */
  readonly encoding: "json" | "clone";
  /**
   * Milliseconds of silence after which the link asks the far end whether it is there; 0 where the channel itself is
   * sure to notice the end of the other side.
   */
  readonly heartbeat: number;
  /** Bytes that were sent and have not left this process; 0 where nobody can know. */
  readonly buffered: number;
  /**
   * Whether there may be more ends than two, all of which hear each other: then whoever sends what is malformed ends
   * nothing for the rest, however often. Needs the plain mode of a link. Default false.
   */
  readonly shared?: boolean;
  /**
   * Starts delivery to the receiver; called once. Frames that arrived before must not be lost, and none is delivered
   * before this returns.
   */
  open(receiver: ChannelReceiver): void;
  /**
   * Sends one frame. Throws only where a value cannot be cloned, and then has sent nothing of it; or a `PubSubError` where
   * it turns out that the channel is over, of which `closed` tells after that. Once the channel is closed it does nothing.
   */
  send(frame: unknown): void;
  /** Ends the channel after what was sent; idempotent, must not throw. The receiver is not called any more. */
  close(): void;
}

/** The link's side of the contract; a Channel calls it. No method throws. */
export interface ChannelReceiver {
  /** Bytes that a frame may have. A Channel that finds the ends of frames itself keeps no more than that of one. */
  readonly maxFrame: number;
  /**
   * One frame arrived: a string of JSON, or a value: cloned, or parsed already by a channel that had to look inside. Called
   * for garbage too, or with a `PubSubError` that says what is wrong with it; the link counts and reports it.
   */
  frame(data: unknown): void;
  /**
   * Something arrived that is broken and may have held frames, events among them. The link counts and reports it, and, as
   * nobody knows any more who has received what, begins the conversation anew: a cut without the loss of the channel.
   */
  damaged(error: unknown): void;
  /** Something is wrong that concerns no frame; it is reported, and no more. */
  error(error: unknown): void;
  /** The channel is over, whoever ended it. Called once; nothing is called after it. */
  closed(cause?: unknown): void;
}
