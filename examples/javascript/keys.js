// Signatures. The control plane has one root key, which signs the set of its other keys, and those sign policies. A
// gateway pins the root; which keys sign may then change as often as an operator likes.

import { createHash, createPublicKey, verify } from "node:crypto";

/**
 * Opens a JWS in compact form: returns its payload if the key that keyOf gives for its header has signed it. What the
 * header says of itself decides nothing: only Ed25519, only this type.
 */
export function open(jws, type, keyOf) {
  const parts = jws.split(".");
  const header = JSON.parse(Buffer.from(parts[0], "base64url"));
  if (parts.length !== 3 || header.alg !== "EdDSA" || header.typ !== type) throw new Error(`this is no ${type}`);
  const signed = Buffer.from(`${parts[0]}.${parts[1]}`);
  if (!verify(null, signed, ed25519(keyOf(header)), Buffer.from(parts[2], "base64url"))) throw new Error("the signature is wrong");
  return Buffer.from(parts[1], "base64url");
}

/** Opens the signed set of keys. root is the thumbprint of the pinned root; without one, whichever root signed it is taken. */
export function openKeySet(jws, root) {
  let signer;
  const payload = open(jws, "countersign-keys", ({ jwk }) => {
    signer = thumbprint(jwk);
    if (root && signer !== root) throw new Error(`the set of keys is signed by ${signer}, not by the pinned root ${root}`);
    return jwk;
  });
  const { issuer, version, keys } = JSON.parse(payload);
  return { root: signer, issuer, version, keys: keys.filter((key) => key.purpose === "policy") };
}

/** The thumbprint of a key (RFC 7638): its kid, and what is pinned of the root. */
export function thumbprint({ crv, kty, x }) {
  return createHash("sha256").update(JSON.stringify({ crv, kty, x })).digest("base64url");
}

function ed25519(jwk) {
  if (jwk?.kty !== "OKP" || jwk.crv !== "Ed25519") throw new Error("there is no Ed25519 key to verify this with");
  return createPublicKey({ key: jwk, format: "jwk" });
}
