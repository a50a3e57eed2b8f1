import { onAbort } from "./abort.ts";

/** What a transport's `open` gives: settled once, by whichever comes first of a connection, a reason why there is none, and the signal. */
export class Opening {
  #pending: { resolve(): void; reject(error: unknown): void } | undefined;
  #forget: () => void = nothing;

  /** Whether somebody waits for it. */
  get pending(): boolean {
    return this.#pending !== undefined;
  }

  /** @param stop ends what was begun; called before the promise rejects */
  begin(signal: AbortSignal, stop: () => void): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      this.#pending = {
        resolve,
        reject: (error) => {
          stop();
          reject(error);
        },
      };
      this.#forget = onAbort(signal, () => this.fail(signal.reason));
    });
  }

  /** There is a connection. @returns false where it is not the first one */
  succeed(): boolean {
    const pending = this.#pending;
    this.end();
    pending?.resolve();
    return pending !== undefined;
  }

  /** There will be none. @returns false where there was one */
  fail(error: unknown): boolean {
    const pending = this.#pending;
    this.end();
    pending?.reject(error);
    return pending !== undefined;
  }

  /** Nobody waits for it any more. */
  end(): void {
    this.#pending = undefined;
    this.#forget();
    this.#forget = nothing;
  }
}

function nothing(): void {}
