// Patterns and templates. None of them is a regular expression: those can be made to take for ever.

/** Whether text matches a pattern, in which * stands for any text, also none, and nothing else is special. */
export function glob(pattern, text) {
  const [first, ...middle] = pattern.split("*");
  if (middle.length === 0) return text === first;
  const last = middle.pop();
  if (!text.startsWith(first)) return false;
  let at = first.length;
  for (const part of middle) {
    const found = text.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return text.length - last.length >= at && text.endsWith(last);
}

/** Whether a caller matches <subject>, or <issuer>|<subject>, where only what holds :// is an issuer. */
export function matchesUser(pattern, { issuer, subject }) {
  const bar = pattern.indexOf("|");
  if (bar < 0 || !pattern.slice(0, bar).includes("://")) return glob(pattern, subject);
  return glob(pattern.slice(0, bar), issuer ?? "") && glob(pattern.slice(bar + 1), subject);
}

const anything = Symbol("any text");
const segment = Symbol("one character or more, none of / ? #");

/** Reads a URI as a template: its parts, or undefined if it is a plain URI. */
export function readTemplate(uri) {
  const [first, ...rest] = uri.split("{");
  if (rest.length === 0) return undefined;
  const parts = [first];
  for (const piece of rest) {
    const end = piece.indexOf("}");
    if (end < 0) return undefined;
    parts.push(end > 0 && "+#./;?&".includes(piece[0]) ? anything : segment, piece.slice(end + 1));
  }
  return parts;
}

/** Whether a URI is one that a template makes. */
export function matchesTemplate(parts, uri) {
  let ends = new Set([0]); // where in the URI the parts so far may end, ascending
  for (const part of parts) {
    const further = new Set();
    for (const end of ends) {
      if (part === anything) {
        for (let i = end; i <= uri.length && !further.has(i); i++) further.add(i);
      } else if (part === segment) {
        for (let i = end; i < uri.length && !"/?#".includes(uri[i]) && !further.has(i + 1); i++) further.add(i + 1);
      } else if (uri.startsWith(part, end)) {
        further.add(end + part.length);
      }
    }
    ends = further;
  }
  return ends.has(uri.length);
}
