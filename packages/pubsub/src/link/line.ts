import type { Channel } from "../channel.ts";
import type { Session } from "./session.ts";

/** A channel's frames go to whichever session the channel belongs to now: a `$hello` may move it to an older one. */
export class Line {
  readonly channel: Channel;
  session: Session;

  constructor(channel: Channel, session: Session, maxFrame: number) {
    this.channel = channel;
    this.session = session;
    channel.open({
      maxFrame,
      frame: (data) => {
        this.session.receive(this, data);
        this.session.received();
      },
      damaged: (error) => this.session.damaged(this, error),
      error: (error) => this.session.lineError(this, error),
      closed: (cause) => this.session.lineClosed(this, cause),
    });
  }
}
