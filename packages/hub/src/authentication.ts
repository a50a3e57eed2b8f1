import type { IncomingMessage } from "node:http";
import { PubSubError } from "@alkdev/pubsub";
import { quietDeadline } from "@alkdev/pubsub/transport";

/** Who sends a request; undefined for nobody known. A throw or a rejection refuses it. */
export type Authenticate = (request: IncomingMessage) => string | undefined | Promise<string | undefined>;

/** What is said to whoever is not let in: not why, which is for this side's eyes. */
export const UNAUTHENTICATED = "This hub does not know who you are. Say it as its operator told you.";

/**
 * Asks who sends a request.
 *
 * @param timeout milliseconds that it may take
 * @throws what `authenticate` throws, or that it took too long; the caller answers 401, and reports what is no `PubSubError`
 */
export function whoSends(
  authenticate: Authenticate,
  request: IncomingMessage,
  timeout: number,
): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const stop = quietDeadline(timeout, () => reject(new Error(`authenticate took more than ${timeout} ms.`)));
    // A function of its own, so that what it throws at once is a rejection too.
    (async () => authenticate(request))()
      .then((identity) => {
        if (identity !== undefined && typeof identity !== "string")
          throw new PubSubError("INVALID_OPTION", "authenticate must give an identity as a string, or undefined.");
        resolve(identity);
      })
      .catch(reject)
      .finally(stop);
  });
}
