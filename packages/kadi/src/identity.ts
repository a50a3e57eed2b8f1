import { createHash, createPublicKey, randomBytes, verify } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { CODES, RpcError } from "./json-rpc.ts";

/** The longest base64 of a key or signature that is looked at. */
const MAX_TEXT = 1024;

/** What one connection is to sign, once and soon. */
export class Challenge {
  readonly nonce: string = randomBytes(32).toString("base64");
  readonly #until: number;

  constructor(milliseconds: number) {
    this.#until = performance.now() + milliseconds;
  }

  /**
   * Who signed. The signature is over the nonce as it was sent, or over the 32 bytes that it stands for.
   *
   * @throws RpcError `UNAUTHENTICATED`
   */
  verify(proof: Proof): Identity {
    if (proof.nonce !== this.nonce) throw refused("This is not the nonce that this connection was given");
    if (performance.now() >= this.#until) throw refused("The nonce has expired");
    const key = publicKey(proof.publicKey);
    const signature = bytes(proof.signature);
    const signed = [Buffer.from(this.nonce, "utf8"), Buffer.from(this.nonce, "base64")];
    if (!signed.some((message) => verify(null, message, key, signature)))
      throw refused("The signature over the nonce is not of this key");
    // Of the key as it is exported, not as it came: one key must not have two ids.
    const der = key.export({ format: "der", type: "spki" });
    const keyId = createHash("sha256").update(der).digest("hex");
    if (!proof.wantNewId) return { keyId, agentId: keyId };
    return { keyId, agentId: createHash("sha256").update(der).update(this.nonce).digest("hex") };
  }
}

/** What a client sends to be known by. */
export interface Proof {
  readonly nonce: string;
  /** SPKI DER in base64. */
  readonly publicKey: string;
  /** Ed25519, in base64. */
  readonly signature: string;
  /** Whether it wants an id for this session alone, rather than that of its key. */
  readonly wantNewId: boolean;
}

/** Who a session is. */
export interface Identity {
  /** SHA-256 of the key. */
  readonly keyId: string;
  /** The same, or of the key and the nonce. */
  readonly agentId: string;
}

function publicKey(text: string): KeyObject {
  let key: KeyObject;
  try {
    key = createPublicKey({ key: bytes(text), format: "der", type: "spki" });
  } catch {
    throw refused("The public key is not SPKI DER in base64");
  }
  if (key.asymmetricKeyType !== "ed25519") throw refused("The public key is not one of Ed25519");
  return key;
}

function bytes(text: string): Buffer {
  if (text.length > MAX_TEXT) throw refused("The key or the signature is too long");
  return Buffer.from(text, "base64");
}

function refused(why: string): RpcError {
  return new RpcError(CODES.UNAUTHENTICATED, `${why}; say kadi.session.hello for a new nonce.`);
}
