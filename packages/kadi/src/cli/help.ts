/** The commands and their help, in the order in which they are shown. */
export const HELP: Readonly<Record<string, string>> = {
  broker: `Usage: kadi broker [options]

Runs a broker: agents connect to it, offer tools and call those of others, and exchange events.
It keeps nothing. SIGINT (^C) or SIGTERM ends it, and every session is closed.

Options:
  -p, --port PORT        where to listen (default 8080); 0 takes a free one
      --host ADDRESS     the address to listen on (default 127.0.0.1): whoever can reach it can join
      --allow-host NAME  a host name, beside localhost, under which it may be reached, and whose
                         pages may connect; give it again for more. Everything else is refused (403).
  -n, --network NAME     a network that any key may join, beside "global"; give it again for more.
                         Who may join what, by key, is the option authorize of createKadiBroker.
      --backplane URL    joins this broker with all others that name the same one, see "kadi help"
                         (default: the environment's KADI_BACKPLANE, else none)
      --mcp-token TOKEN  lets MCP clients in that send it, at /mcp (default: the environment's
                         KADI_MCP_TOKEN, which others do not see in the list of processes; else none)
      --mcp-network NAME a network whose tools they see and call (default: global); again for more
  -h, --help             shows this

Clients connect to ws://localhost:8080 or ws://localhost:8080/kadi. GET /status answers with figures.

Examples:
  kadi broker
  kadi broker --port 9000 --network team-a --network team-b
  kadi broker --backplane ws://localhost:8081
  kadi broker --backplane redis://localhost:6379
  KADI_MCP_TOKEN=$(openssl rand -hex 32) kadi broker
`,
  events: `Usage: kadi events PATTERN... [options]

Prints events as they arrive, each on a line of stdout: the time, the channel, the data. Once it listens,
it says "live" on stderr: what is published after that is printed, or its loss is.

  PATTERN  a channel, or a pattern: * is one word, a last # any number of them.
           Quote it, so that the shell leaves it alone.

Options:
  -u, --url URL       the broker (default: the environment's KADI_URL, else ws://localhost:8080)
  -n, --network NAME  a network to join (default: global); give it again for more
      --json          prints each event as one line of JSON: {"channel":…,"data":…,"networkId":…,…}
  -c, --count N       ends after N events
  -h, --help          shows this

Where the connection is interrupted it connects again. A loss is a line in the place where the events are
missing: "gap: …", or with --json {"gap":…}. SIGINT (^C) ends it with 0.

Examples:
  kadi events 'echo.*'
  kadi events '#' --json | jq .data
`,
  tools: `Usage: kadi tools [options]

Prints the tools that there are, each on a line: the agent, the tool, what it does.

Options:
  -u, --url URL       the broker (default: the environment's KADI_URL, else ws://localhost:8080)
  -n, --network NAME  a network to join (default: global); give it again for more
      --json          prints each as one line of JSON, with its schemas and its agent's id
  -h, --help          shows this

Example:
  kadi tools
`,
  call: `Usage: kadi call AGENT TOOL [INPUT] [options]

Calls a tool and prints what it returned, as JSON.

  AGENT  the agent's name, or its id
  TOOL   the tool's name
  INPUT  JSON, as one word of the shell (default {})

Options:
  -u, --url URL       the broker (default: the environment's KADI_URL, else ws://localhost:8080)
  -n, --network NAME  a network to join (default: global); give it again for more
      --json          prints the result on one line
  -h, --help          shows this

^C cancels the call, and the exit code is 130.

Example:
  kadi call echo-js echo '{"message":"hi"}'
`,
  mcp: `Usage: kadi mcp [options]

Serves the tools of a broker to one MCP client, over stdin and stdout: an assistant starts it. It is at the
broker as any agent is, needs no token, and connects again. What it has to say, it says on stderr.

Options:
  -u, --url URL       the broker (default: the environment's KADI_URL, else ws://localhost:8080)
  -n, --network NAME  a network to join (default: global); give it again for more
  -h, --help          shows this

It ends when stdin does, or by SIGINT (^C) or SIGTERM, with 0.

Example, in the configuration of an assistant:
  { "mcpServers": { "kadi": { "command": "npx", "args": ["-y", "@alkdev/kadi", "mcp"] } } }
`,
};

export const GENERAL = `Usage: kadi COMMAND [options]

Agents and abilities find one another, call each other's tools and exchange events.

Commands:
  broker                   runs a broker, where agents meet
  events PATTERN...        prints events as they arrive
  tools                    prints the tools that there are
  call AGENT TOOL [INPUT]  calls a tool and prints what it returned
  mcp                      serves the tools to an assistant that speaks MCP
  help [COMMAND]           shows this, or all about a command

Options:
  -h, --help     shows this, or all about a command
      --version  shows the version

What brokers may share (--backplane):
  ws://host:port, wss://                        a hub ("pubsub hub"); its token as ?token=TOKEN
  redis://user:password@host:6379, rediss://    Redis, where ioredis or redis is installed
  nats://user:password@host:4222, tls://        NATS, where @nats-io/transport-node is installed
  amqp://user:password@host:5672/vhost, amqps:  RabbitMQ, where amqplib is installed
  At the end ?prefix=NAME (Redis, NATS) or ?exchange=NAME (RabbitMQ) keeps those apart that name
  different ones.

Environment:
  KADI_URL        the broker to use where no --url is given, instead of ws://localhost:8080
  KADI_BACKPLANE  what "kadi broker" shares with others, where no --backplane is given; a password in
                  an address belongs here: what is on a command line everybody on this machine can read
  KADI_MCP_TOKEN  what MCP clients of "kadi broker" send, where no --mcp-token is given

Exit codes: 0 it worked; 1 it failed; 2 the command line is wrong, and nothing was tried;
130 ^C cancelled a call.
`;
