/** The commands and their help, in the order in which they are shown. */
export const HELP: Readonly<Record<string, string>> = {
  hub: `Usage: pubsub hub [options]

Runs a hub: whoever connects to it gets the events it subscribed to, from whoever publishes them.
It keeps no events. SIGINT (^C) or SIGTERM ends it, and every link is told goodbye.

Options:
  -p, --port PORT        where to listen (default 8080); 0 takes a free one
      --host ADDRESS     the address to listen on (default 127.0.0.1): whoever can reach it can
                         publish and subscribe
      --allow-host NAME  a host name, beside localhost, under which it may be reached, and whose
                         pages may connect; give it again for more. Everything else is refused (403).
      --events           answers GET /events?type=PATTERN with server-sent events, for consumers that
                         only listen (EventSource, curl); &id=ID for one id, both again for more
      --token-file FILE  lets in only whoever names the token that FILE holds (else 401): as the header
                         Authorization: Bearer TOKEN, or, as pages must, in the address: ?token=TOKEN
      --backplane URL    joins this hub with all others that name the same one: Redis, NATS, RabbitMQ,
                         Postgres or a hub (see "pubsub help"); whoever is at any of them gets what it
                         subscribed to
                         (default: the environment's PUBSUB_BACKPLANE, else none)
  -h, --help             shows this

GET /status answers with the hub's figures as JSON. A consumer of events that is cut off and back
within 30 s (Last-Event-ID, which an EventSource sends by itself) misses nothing; else it gets a gap.

Examples:
  pubsub hub
  pubsub hub --port 9000
  pubsub hub --host 0.0.0.0 --allow-host events.example
  curl http://127.0.0.1:8080/status
  pubsub hub --events
  curl -N 'http://127.0.0.1:8080/events?type=host.*'
  pubsub hub --backplane redis://localhost:6379
  pubsub hub --token-file secret & pubsub tail '**' --url "ws://localhost:8080/?token=$(cat secret)"
`,
  tail: `Usage: pubsub tail PATTERN [ID] [options]

Prints events as they arrive, each on a line of stdout: the time, the topic, the payload. Once it
listens, it says "live" on stderr: what is published after that is printed, or its loss is.

  PATTERN  an event type, or a pattern: * is one token, a last ** any number of them.
           Quote it, so that the shell leaves it alone.
  ID       only events with this id ('' is the empty one); without, all of them

Options:
  -u, --url URL    the hub, or a broker without one: redis://…, nats://…, see "pubsub help"
                   (default: the environment's PUBSUB_URL, else ws://localhost:8080)
      --json       prints each event as one line of JSON (NDJSON): {"type":…,"id":…,"payload":…}
  -n, --count N    ends after N events
  -h, --help       shows this

When the connection is lost it says "interrupted" on stderr, connects again by itself, and says "ready".
A loss (while interrupted, or because stdout was read too slowly) is a line in the place where the
events are missing: "gap: …", or with --json {"gap":{"reason":…,"since":…,"until":…,"lost":…}}, which
is said on stderr as well. Events have a "type", gaps have none: jq 'select(.type)' leaves them out.

Ends with exit code 0 on SIGINT (^C), on SIGTERM, when nobody reads stdout any more, and after N events.

Examples:
  pubsub tail 'host.*'
  pubsub tail session.status proj_123
  pubsub tail '**' --json | jq .payload
  pubsub tail demo.note --count 1 --url ws://events.example:8080
  pubsub tail '**' --url redis://localhost:6379
`,
  publish: `Usage: pubsub publish TYPE ID [PAYLOAD | -] [options]

Publishes one event, or with - one for each line of stdin, and ends once all are acknowledged.

  TYPE     the event type, such as host.cpu
  ID       what it is about, such as web-1; '' is the empty id
  PAYLOAD  JSON, as one word of the shell; a string needs its own quotes: '"text"'.
           Without a payload, null is published and stdin is not read.
  -        reads payloads from stdin, one line of JSON (NDJSON) for each event, in order

Options:
  -u, --url URL    the hub, or a broker without one: redis://…, nats://…, see "pubsub help"
                   (default: the environment's PUBSUB_URL, else ws://localhost:8080)
  -h, --help       shows this

With -, empty lines are skipped. A line that is not JSON, or that fails otherwise, is reported with its
number; the others are published all the same, and the exit code is 1. While the connection is
interrupted the input waits, and goes on when it is back; what a cut left without an acknowledgement
counts as failed, although it may have been delivered. ^C stops reading, waits for what is on its
way, and the exit code is 130. How many were published is said on stderr.

Put -- before arguments that begin with a dash: pubsub publish -- host.temperature out -5

Examples:
  pubsub publish demo.note me '{"note":"hi"}'
  pubsub publish demo.note me '"only text"'
  pubsub publish session.closed proj_123
  echo '{"note":"hi"}' | pubsub publish demo.note me -
  jq -c '.[]' notes.json | pubsub publish demo.note me -
  pubsub publish demo.note me '{"note":"hi"}' --url nats://localhost:4222
`,
};

export const GENERAL = `Usage: pubsub COMMAND [options]

Typed events, published once, reach every subscriber, and a loss is never silent.

Commands:
  hub                       runs a hub, where the others meet
  tail PATTERN [ID]         prints events as they arrive
  publish TYPE ID [PAYLOAD] publishes an event, or one for each line of stdin
  help [COMMAND]            shows this, or all about a command

Options:
  -h, --help     shows this, or all about a command
      --version  shows the version

Examples, each in a terminal of its own:
  pubsub hub
  pubsub tail 'host.*'
  pubsub publish host.cpu web-1 '{"load":0.4}'
  echo '{"load":0.5}' | pubsub publish host.cpu web-1 -

Addresses (--url, --backplane):
  ws://host:port, wss://                        a hub; its token as ?token=TOKEN
  redis://user:password@host:6379, rediss://    Redis, where ioredis or redis is installed
  nats://user:password@host:4222, tls://        NATS, where @nats-io/transport-node is installed
  amqp://user:password@host:5672/vhost, amqps:  RabbitMQ, where amqplib is installed
  mqtt://user:password@host:1883, mqtts://      an MQTT broker, where mqtt is installed
  postgres://user:password@host:5432/database   Postgres, where pg is installed
  At the end ?prefix=NAME (Redis, NATS, MQTT), ?exchange=NAME (RabbitMQ) or ?channel=NAME (Postgres) keeps
  those apart that name different ones.

Environment:
  PUBSUB_URL        the address to use where no --url is given, instead of ws://localhost:8080
  PUBSUB_BACKPLANE  what hubs share where no --backplane is given; a password in an address belongs
                    here: what is on a command line everybody on this machine can read
  NO_COLOR          no colours; there are none in any case where stdout is not a terminal

Exit codes: 0 it worked; 1 it failed; 2 the command line is wrong, and nothing was tried;
130 ^C stopped a publish.
`;
