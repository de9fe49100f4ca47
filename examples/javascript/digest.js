// The digests of docs/policy.md: of definitions and endpoints, which say whether a server still is what people looked at,
// and of calls, which say what exactly people approved.

import { createHash } from "node:crypto";

import { Numeral, read, Refused, write } from "./json.js";

/** SHA-256 of what is canonical, tied to what it is a digest of. */
export function digest(domain, canonical) {
  return `sha256:${createHash("sha256").update(`${domain}\0`).update(canonical).digest("hex")}`;
}

/** The exact form of JSON that a server sent: numbers stay as they were written. */
export function exact(text) {
  return write(read(text), (n) => n.text);
}

/** The digest of an item of tools/list, prompts/list, resources/list or resources/templates/list. Give it the bytes. */
export const definitionDigest = (item) => digest("countersign/definition/v1", exact(item));

/** Reads the arguments of a call, and refuses what two readers could take for two different things. */
export function readArguments(text) {
  if (Buffer.byteLength(text) > 256 * 1024) throw new Refused("too_large", "arguments are longer than 256 KiB");
  const read_ = text.length === 0 ? new Map() : read(text, { depth: 64, folded: true });
  if (!(read_ instanceof Map)) throw new Refused("not_object", "arguments are not an object");
  return read_;
}

/** RFC 8785: a number is what a double makes of it. Those that a double does not keep are refused. */
function shortest(n) {
  const double = Number(n.text);
  if (Math.abs(double) > Number.MAX_SAFE_INTEGER) throw new Refused("unsafe_integer", `${n.text} is beyond ±(2^53−1)`);
  if (!n.exact) throw new Refused("unsafe_number", `${n.text} has more digits than a double keeps`);
  return JSON.stringify(double);
}

/** Arguments without our own confirmation token, which does not exist yet when a call is approved. */
function withoutToken(args) {
  const kept = new Map(args);
  if (/^cst_[0-9A-Za-z]{49}$/.test(kept.get("confirmation_token"))) kept.delete("confirmation_token");
  return kept;
}

/** The canonical form of arguments that were read: the bytes that people approve, and that are forwarded. */
export const canonicalArguments = (args) => write(withoutToken(args), shortest);

/**
 * The digest of one exact call, its canonical form, and that of its arguments. The call has the members that
 * docs/policy.md shows; its arguments are what readArguments returned.
 */
export function callDigest(call) {
  check(call);
  const { issuer = "", subject = "", agent = "", model = "" } = call.principal;
  const canonical = write(
    new Map([
      ...["definition", "endpoint_digest", "gateway", "issuer", "kind", "server_id", "tool"].map((m) => [m, call[m]]),
      ["epoch", new Numeral(String(call.epoch))],
      ["principal", new Map(Object.entries({ issuer, subject, agent, model }))],
      ["arguments", withoutToken(call.arguments)],
    ]),
    shortest,
  );
  return { digest: digest("countersign/call/v1", canonical), canonical, arguments: canonicalArguments(call.arguments) };
}

/** A call says all it has to, in a way that can be written exactly. What is refused is named. */
function check(call) {
  const { issuer, subject, agent, model } = call.principal;
  const texts = { issuer: call.issuer, gateway: call.gateway, server_id: call.server_id, tool: call.tool };
  for (const [name, text] of Object.entries(texts)) {
    if (!text || !printable(text)) throw new Refused(name, `${name} is empty, too long or holds a control character`);
  }
  for (const [name, text] of Object.entries({ issuer, subject, agent, model })) {
    if (text && !printable(text)) throw new Refused(`principal.${name}`, `${name} is too long or holds a control character`);
  }
  for (const name of ["definition", "endpoint_digest"]) {
    if (!/^sha256:(?!0{64})[0-9a-f]{64}$/.test(call[name])) throw new Refused(name, `${name} is not a digest`);
  }
  if (!["tool", "prompt", "resource"].includes(call.kind)) throw new Refused("kind", "kind is not known");
  if (!Number.isSafeInteger(call.epoch) || call.epoch < 0) throw new Refused("epoch", "epoch is out of range");
}

const printable = (text) => Buffer.byteLength(text) <= 2048 && !/\p{Cc}/u.test(text);
