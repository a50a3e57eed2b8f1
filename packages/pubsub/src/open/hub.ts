/** `ws:` and `wss:`: a hub, by the client of the package `@alkdev/hub`, which connects again and resumes. */
import type { AlkEventTarget, EventTargetOptions } from "../event-target.ts";
import { load, patience, saying } from "./opener.ts";
import type { Opener } from "./opener.ts";

/** What is used of the package. It stands on this one, so nothing here may be compiled against it. */
interface HubModule {
  readonly createHubEventTarget: (
    url: string,
    options: EventTargetOptions & { readonly firstAttempts: number; readonly attemptTimeout: number },
  ) => AlkEventTarget;
}

export const open: Opener = async ({ scheme, url }, options) => {
  const { module } = await load(scheme, "@alkdev/hub/client");
  const { createHubEventTarget } = module as HubModule;
  return createHubEventTarget(url.href, {
    ...options,
    firstAttempts: 1,
    attemptTimeout: patience(options.connectTimeout),
  });
};

export function refused(error: unknown): string | undefined {
  return saying(error, /\b(401|403)\b/);
}
