import { parseArgs } from "node:util";

export const HELP = `Usage: npm start -- [options]

Starts a hub, publishes what this machine is doing from several places, subscribes in each of them, and shows what became
of every event. The places: this process, a worker thread, a process of its own over WebSocket, a child process over its
standard input and output and, if Chromium is installed, a page in it.

  --seconds N   end N seconds after all routes are live (default: run until Ctrl-C)
  --port N      the hub's port, 0 for any that is free (default: 8080, or a free one if that is in use)
  --no-page     leave out the page in a browser
  --help        this text

Exit code: 0 if nothing was lost, 1 if something was or a place died, 2 for a wrong option, 130 after a second Ctrl-C.
(npm itself may say 130 after the first.)
NO_COLOR=1 turns colours off. Where the output is no terminal, a line is printed every second.
`;

/** A wrong option; the message says what is right. */
export class OptionError extends Error {}

/**
 * @param {readonly string[]} args
 * @returns {{ seconds: number | undefined, port: number, page: boolean, help: boolean }}
 * @throws OptionError
 */
export function parseOptions(args) {
  let values;
  try {
    ({ values } = parseArgs({
      args: [...args],
      options: {
        seconds: { type: "string" },
        port: { type: "string" },
        "no-page": { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    }));
  } catch (error) {
    // The first sentence; what Node adds is about escaping.
    throw new OptionError(/** @type {Error} */ (error).message.split(/\.?\s*\n|\. /)[0], { cause: error });
  }
  const { seconds, port = "8080", "no-page": noPage = false, help = false } = values;
  if (seconds !== undefined && !(isDecimal(seconds) && Number(seconds) > 0 && Number(seconds) <= 1e6))
    throw new OptionError(`--seconds takes a number above 0 and up to 1000000, not ${JSON.stringify(seconds)}`);
  if (!(/^\d+$/.test(port) && Number(port) <= 65_535))
    throw new OptionError(`--port takes a whole number from 0 to 65535, not ${JSON.stringify(port)}`);
  return { seconds: seconds === undefined ? undefined : Number(seconds), port: Number(port), page: !noPage, help };
}

/** @param {string} text */
const isDecimal = (text) => /^(\d+\.?\d*|\.\d+)$/.test(text);
