import type { Filter } from "@alkdev/pubsub";
import { isPattern, matchesType } from "@alkdev/pubsub/transport";

/** A filter of a grant: a type or pattern for every id, or one with its id. */
export type Granted = string | { readonly type: string; readonly id?: string };

/** What one identity may do. What is absent is not restricted; an empty list forbids all. */
export interface Grant {
  readonly publish?: readonly Granted[];
  readonly subscribe?: readonly Granted[];
}

/** Whether one of the grants covers all that a filter can match. Grants are not added up: one must cover it alone. */
export function covers(grants: readonly Granted[] | undefined, wanted: Filter): boolean {
  if (grants === undefined) return true;
  return grants.some((granted) => {
    const { type, id } = typeof granted === "string" ? { type: granted, id: undefined } : granted;
    return (id === undefined || id === wanted.id) && coversType(type, wanted.type);
  });
}

/** Whether every type that the second pattern matches is matched by the first. */
function coversType(wide: string, narrow: string): boolean {
  if (!isPattern(narrow)) return matchesType(wide, narrow);
  const wides = wide.split(".");
  // A type has at least one token, so ** alone is the same as *.**.
  const narrows = narrow === "**" ? ["*", "**"] : narrow.split(".");
  for (let i = 0; i < narrows.length; i++) {
    if (wides[i] === "**") return true;
    if (narrows[i] === "**" || wides[i] === undefined) return false;
    if (wides[i] !== "*" && wides[i] !== narrows[i]) return false;
  }
  // a.** also covers a, but a.b does not cover a.
  return wides.length === narrows.length || (wides.length === narrows.length + 1 && wides.at(-1) === "**");
}
