// Keys of agents. The policy has the hash of each, so that whoever reads it can sign in as nobody; what is presented is
// hashed and looked for.

import { createHash, timingSafeEqual } from "node:crypto";

/** The principal that a key signs in as, or null: it is not of the policy, or its time has passed. Ask at every request. */
export function keyHolder(document, key, now = new Date()) {
  const presented = createHash("sha256").update(key).digest();
  let found;
  for (const one of document.keys ?? []) {
    const hash = Buffer.from(one.hash.replace(/^sha256:/, ""), "hex");
    if (hash.length === presented.length && timingSafeEqual(hash, presented)) found = one; // all are compared, whichever fits
  }
  if (!found || !(now < new Date(found.not_after))) return null;
  return { issuer: document.issuer, subject: found.subject, groups: [], agent: found.agent };
}
