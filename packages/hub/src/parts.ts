/**
 * @module What other packages of this repository build their own servers and commands of. Not for users: it may change with
 * any version.
 */
export { addressOf, answer, Gate, listen, refuse } from "./listener.ts";
export { Rate } from "./rate.ts";
