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
      --hub URL          joins this broker with all others that name the same hub (pubsub hub)
  -h, --help             shows this

Clients connect to ws://localhost:8080 or ws://localhost:8080/kadi. GET /status answers with figures.

Examples:
  kadi broker
  kadi broker --port 9000 --network team-a --network team-b
  kadi broker --hub ws://localhost:8081
`,
};

export const GENERAL = `Usage: kadi COMMAND [options]

Agents and abilities find one another, call each other's tools and exchange events.

Commands:
  broker          runs a broker, where agents meet
  help [COMMAND]  shows this, or all about a command

Options:
  -h, --help     shows this, or all about a command
      --version  shows the version

Exit codes: 0 it worked; 1 it failed; 2 the command line is wrong, and nothing was tried.
`;
