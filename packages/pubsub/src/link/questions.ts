interface Pending {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** `$subscribe`s that the far end has not answered, by their reference. */
export class Questions {
  readonly #pending = new Map<number, Pending>();
  #lastRef = 0;

  /** @returns a new reference, and the promise of the far end's word */
  ask(): { readonly ref: number; readonly live: Promise<void> } {
    const ref = ++this.#lastRef;
    const live = new Promise<void>((resolve, reject) => this.#pending.set(ref, { resolve, reject }));
    return { ref, live };
  }

  /** The answer was yes, or, with an error, no. @returns false where nobody asked */
  answer(ref: number, error?: unknown): boolean {
    const pending = this.#pending.get(ref);
    this.#pending.delete(ref);
    if (error === undefined) pending?.resolve();
    else pending?.reject(error);
    return pending !== undefined;
  }

  /** No answer is wanted any more; its promise stays as it is. */
  withdraw(ref: number): void {
    this.#pending.delete(ref);
  }

  /** No answer will come. */
  rejectAll(error: unknown): void {
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const { reject } of pending) reject(error);
  }
}
