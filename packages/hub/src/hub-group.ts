import type { EventEnvelope, Filter, Gap, PubSubError } from "@alkdev/pubsub";
import { Outgoing } from "@alkdev/pubsub/transport";
import type { Entry } from "@alkdev/pubsub/transport";
import type { Interested } from "./backplane.ts";

/** A member of a group: a link's subscription, or one of the hub's own place. */
export interface Member {
  /** Whether it has lost its channel; others are served first. */
  readonly isAway: boolean;
  serve(outgoing: Outgoing): void;
  gap(gap: Gap): void;
  revoked(error: PubSubError): void;
}

/** The members that share the events of one filter. */
export class GroupFilter implements Entry, Interested {
  active = false;
  order = 0;
  readonly type: string;
  readonly id: string | undefined;
  readonly group: string | undefined;
  readonly members: Member[] = [];
  #turn = 0;

  constructor(filter: Filter) {
    this.type = filter.type;
    this.id = filter.id;
    this.group = filter.group;
  }

  /** Gives an event to the next member; to one that has lost its channel only where all have. */
  serve(outgoing: Outgoing): void {
    const { members } = this;
    for (let i = 0; i < members.length; i++) {
      const member = members[this.#turn++ % members.length];
      if (member?.isAway === false) return member.serve(outgoing);
    }
    members[this.#turn++ % members.length]?.serve(outgoing);
  }

  deliver(envelope: EventEnvelope): void {
    this.serve(new Outgoing(envelope));
  }

  gap(gap: Gap): void {
    for (const member of this.members) member.gap(gap);
  }

  revoked(error: PubSubError): void {
    for (const member of [...this.members]) member.revoked(error);
  }
}
