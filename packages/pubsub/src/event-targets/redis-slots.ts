/** Which of a cluster's slots a channel is in, and which master has it. */

/** Where a node can be connected to. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

const SLOTS = 16_384;
const encoder = new TextEncoder();

/** CRC-16 of every byte, by the polynomial 0x1021. */
const TABLE = Uint16Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 8;
  for (let bit = 0; bit < 8; bit++) crc = (crc & 0x8000) === 0 ? crc << 1 : (crc << 1) ^ 0x1021;
  return crc;
});

/** Only what is in the first braces counts, if that is anything. */
export function slotOf(channel: string): number {
  const from = channel.indexOf("{");
  const to = from < 0 ? -1 : channel.indexOf("}", from + 1);
  const counts = to > from + 1 ? channel.slice(from + 1, to) : channel;
  let crc = 0;
  for (const byte of encoder.encode(counts)) crc = ((crc << 8) & 0xff_ff) ^ (TABLE[(crc >> 8) ^ byte] as number);
  return crc % SLOTS;
}

/** A master as text, which is what it is known by here. */
export function nameOf({ host, port }: Address): string {
  return `${host}:${port}`;
}

export function addressOf(name: string): Address {
  const colon = name.lastIndexOf(":");
  return { host: name.slice(0, colon), port: Number(name.slice(colon + 1)) };
}

/** Which master has which slot, as far as is known. */
export class SlotMap {
  #owners: (string | undefined)[] = [];
  #masters: ReadonlySet<string> = new Set();

  owner(slot: number): string | undefined {
    return this.#owners[slot];
  }

  isMaster(name: string): boolean {
    return this.#masters.has(name);
  }

  /**
   * Learns what `CLUSTER SLOTS` says.
   *
   * @param asked the node that said so; it may not know where it is itself
   */
  learn(answer: unknown, asked: Address): void {
    this.#owners = Array.from({ length: SLOTS });
    const masters = new Set<string>();
    for (const range of rangesOf(answer)) {
      const owner = range.owner(asked);
      masters.add(owner);
      this.#owners.fill(owner, range.from, range.to + 1);
    }
    this.#masters = masters;
  }

  moved(slot: number, name: string): void {
    this.#owners[slot] = name;
    this.#masters = new Set(this.#masters).add(name);
  }
}

interface Range {
  readonly from: number;
  readonly to: number;
  /** The id of the master. */
  readonly id: string;
  owner(asked: Address): string;
}

/** What `CLUSTER SLOTS` says. */
export function rangesOf(answer: unknown): Range[] {
  return (answer as [number, number, [string | null, number, string]][]).map(([from, to, [host, port, id]]) => ({
    from: Number(from),
    to: Number(to),
    id: String(id),
    owner: (asked) => nameOf({ host: host === null || String(host) === "" ? asked.host : String(host), port }),
  }));
}

/** Where Redis says that a slot is now, in refusing something: `MOVED 3999 10.0.0.1:6381`. */
export function movedTo(text: string, asked: Address): { readonly slot: number; readonly name: string } | undefined {
  const [, slot, host = "", port] = /^MOVED (\d+) (.*):(\d+)$/.exec(text) ?? [];
  if (slot === undefined) return undefined;
  return { slot: Number(slot), name: nameOf({ host: host === "" ? asked.host : host, port: Number(port) }) };
}
