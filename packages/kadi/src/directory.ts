import { CODES, RpcError } from "./json-rpc.ts";

/** A tool as its provider registered it. */
export interface Tool {
  readonly name: string;
  readonly description?: string;
  /** JSON Schema. */
  readonly inputSchema?: unknown;
  readonly outputSchema?: unknown;
}

/** An agent that has registered, at whichever broker. */
export interface Agent {
  /** Names the session, among all brokers. */
  readonly session: string;
  /** The broker that it is connected to. */
  readonly broker: string;
  readonly agentId: string;
  readonly keyId: string;
  readonly name?: string | undefined;
  readonly displayName?: string | undefined;
  readonly role: string;
  /** When it registered first, in milliseconds since 1970. */
  readonly since: number;
  /** Where its tools can be seen. */
  readonly networks: readonly string[];
  readonly tools: readonly Tool[];
}

/** A tool as a caller sees it. */
export interface VisibleTool extends Tool {
  readonly agentId: string;
  readonly agentName?: string | undefined;
  /** Those of its networks that the caller has joined. */
  readonly networks: readonly string[];
}

/** Every agent that is registered here and at the brokers that this one is joined with. */
export class Directory {
  readonly #agents = new Map<string, Agent>();
  /** Who has a tool of that name, by session, in the order in which that became known. */
  readonly #holders = new Map<string, Map<string, Agent>>();
  readonly #watchers = new Set<(agent: Agent) => void>();

  get size(): number {
    return this.#agents.size;
  }

  of(session: string): Agent | undefined {
    return this.#agents.get(session);
  }

  /** Adds an agent, or replaces what its session registered before. */
  put(agent: Agent): void {
    const { session, tools } = agent;
    const replaced = this.#agents.get(session);
    this.#agents.set(session, agent);
    // Those that it had before keep their place.
    for (const { name } of tools) {
      const holders = this.#holders.get(name);
      if (holders === undefined) this.#holders.set(name, new Map([[session, agent]]));
      else holders.set(session, agent);
    }
    const names = new Set(tools.map(({ name }) => name));
    for (const { name } of replaced?.tools ?? []) if (!names.has(name)) this.#letGo(name, session);
    if (replaced !== undefined) this.#changed(replaced);
    this.#changed(agent);
  }

  remove(session: string): void {
    const agent = this.#agents.get(session);
    if (agent === undefined) return;
    this.#agents.delete(session);
    for (const { name } of agent.tools) this.#letGo(name, session);
    this.#changed(agent);
  }

  /**
   * Calls back once a turn in which agents came to these networks, went from them or registered anew. Returns how to stop.
   *
   * @param networks asked again each time: of what happens in others nothing may be learnt, not even that it does
   */
  watch(networks: () => readonly string[], changed: () => void): () => void {
    let wanted = true;
    let pending = false;
    const watcher = (agent: Agent): void => {
      if (pending || !share(agent.networks, networks())) return;
      pending = true;
      setImmediate(() => {
        pending = false;
        if (wanted) changed();
      });
    };
    this.#watchers.add(watcher);
    return () => {
      wanted = false;
      this.#watchers.delete(watcher);
    };
  }

  #changed(agent: Agent): void {
    for (const watcher of this.#watchers) watcher(agent);
  }

  #letGo(name: string, session: string): void {
    const holders = this.#holders.get(name);
    if (holders?.delete(session) === true && holders.size === 0) this.#holders.delete(name);
  }

  /** Agents of other keys that hold a tool of the same name in a network that both would be seen in, with these names. */
  rivals({ keyId, tools, networks }: Pick<Agent, "keyId" | "tools" | "networks">): Map<Agent, Set<string>> {
    const rivals = new Map<Agent, Set<string>>();
    for (const { name } of tools)
      for (const holder of this.#holders.get(name)?.values() ?? [])
        if (holder.keyId !== keyId && share(holder.networks, networks))
          rivals.set(holder, (rivals.get(holder) ?? new Set()).add(name));
    return rivals;
  }

  /**
   * Who is to run a tool, of those that the caller can see: the first key that held it, at its newest session.
   *
   * @param target an agent's id, name or display name; any agent, where it is undefined
   */
  find(tool: string, networks: readonly string[], target: string | undefined): Agent | undefined {
    let found: Agent | undefined;
    for (const agent of this.#holders.get(tool)?.values() ?? [])
      if (share(agent.networks, networks) && (target === undefined || answersTo(agent, target)))
        if (found === undefined || (agent.keyId === found.keyId && agent.since >= found.since)) found = agent;
    return found;
  }

  visible(networks: readonly string[]): VisibleTool[] {
    const tools = new Map<string, VisibleTool>();
    const agents = [...this.#agents.values()].sort((a, b) => a.since - b.since);
    for (const { tools: held, agentId, name, displayName, networks: theirs } of agents) {
      const common = theirs.filter((network) => networks.includes(network));
      if (common.length === 0) continue;
      // An agent that is connected twice, or not known to have gone yet, is shown once: as it is newest.
      for (const tool of held)
        tools.set(JSON.stringify([agentId, tool.name]), {
          ...tool,
          agentId,
          agentName: name ?? displayName,
          networks: common,
        });
    }
    return [...tools.values()];
  }
}

/** What a registration is answered with whose names another key's live agent holds. */
export function taken(names: Iterable<string>): RpcError {
  const list = [...names].map((name) => JSON.stringify(name)).join(", ");
  return new RpcError(CODES.TAKEN, `Another agent of this network holds a tool named ${list}; choose another name.`, {
    tools: [...names],
  });
}

function answersTo(agent: Agent, target: string): boolean {
  return agent.agentId === target || agent.name === target || agent.displayName === target;
}

function share(some: readonly string[], others: readonly string[]): boolean {
  return some.some((network) => others.includes(network));
}
