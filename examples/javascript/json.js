// JSON as all readers agree on it. JSON.parse keeps the last of two equal keys and rounds numbers, so that a gateway and
// the server behind it could read the same bytes as two different calls. This reader refuses what is ambiguous and keeps
// each number as it was written.
//
// Objects become Maps, arrays arrays, and numbers Numerals.

/** Why a text was refused: the code that the test vectors name. */
export class Refused extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** A number, as it was written. */
export class Numeral {
  constructor(text) {
    this.text = text;
  }

  /** The same number in the one form of every way to write it: digits, and a power of ten. 1.50 is 15e-1. */
  get decimal() {
    const [, sign, whole, fraction = "", exponent = "0"] = /^(-?)(\d+)(?:\.(\d+))?(?:[eE](.+))?$/.exec(this.text);
    const digits = (whole + fraction).replace(/^0+/, "");
    const significant = digits.replace(/0+$/, "");
    if (significant === "") return "0e0";
    return `${sign}${significant}e${Number(exponent) - fraction.length + digits.length - significant.length}`;
  }

  /** Whether a double keeps this number: whether the shortest way to write that double is the same number. */
  get exact() {
    const double = Number(this.text);
    return Number.isFinite(double) && new Numeral(String(double)).decimal === this.decimal;
  }
}

const number = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const space = /[ \t\n\r]*/y;
const word = /true|false|null/y;

/**
 * Reads one JSON value from text or bytes. With folded keys, two keys of an object that differ only in case are refused,
 * as a lenient reader would take them for one.
 */
export function read(input, { depth = 128, folded = false } = {}) {
  const text = typeof input === "string" ? input : decode(input);
  if (text.startsWith("\ufeff")) throw new Refused("byte_order_mark", "the text begins with a byte order mark");
  let at = 0;

  const take = (pattern) => {
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0];
    at += found?.length ?? 0;
    return found;
  };
  const refuse = (code, message) => {
    throw new Refused(code, `${message}, at character ${at}`);
  };
  const next = (...wanted) => {
    take(space);
    if (!wanted.includes(text[at])) refuse("syntax", `${wanted.join(" or ")} is needed`);
    return text[at++];
  };
  const skip = (wanted) => {
    take(space);
    if (text[at] !== wanted) return false;
    at++;
    return true;
  };

  const string = () => {
    let end = at + 1;
    for (; text[end] !== '"'; end += text[end] === "\\" ? 2 : 1) {
      if (end >= text.length) refuse("syntax", "a string does not end");
      if (text[end] < " ") refuse("control_character", "a string holds a control character");
    }
    let value;
    try {
      value = JSON.parse(text.slice(at, end + 1));
    } catch {
      refuse("syntax", "a string has a wrong escape");
    }
    if (!value.isWellFormed()) refuse("lone_surrogate", "a string holds half a surrogate pair");
    at = end + 1;
    return value;
  };

  const object = (level) => {
    const members = new Map();
    const seen = new Map();
    if (skip("}")) return members;
    do {
      take(space);
      if (text[at] !== '"') refuse("syntax", "a key is needed");
      const key = string();
      if (key.includes("\0")) refuse("nul_in_key", "a key holds a NUL");
      if (members.has(key)) refuse("duplicate_key", "an object has the same key twice");
      if (folded && seen.has(fold(key))) refuse("case_variant_key", "two keys of an object differ only in case");
      seen.set(fold(key), key);
      next(":");
      members.set(key, value(level));
    } while (next(",", "}") === ",");
    return members;
  };

  const array = (level) => {
    const elements = [];
    if (skip("]")) return elements;
    do elements.push(value(level));
    while (next(",", "]") === ",");
    return elements;
  };

  const value = (level) => {
    if (skip("{")) return level < depth ? object(level + 1) : refuse("depth", "the value is too deep");
    if (skip("[")) return level < depth ? array(level + 1) : refuse("depth", "the value is too deep");
    if (text[at] === '"') return string();
    const literal = take(word);
    if (literal) return JSON.parse(literal);
    return new Numeral(take(number) ?? refuse("syntax", "a value is needed"));
  };

  const result = value(0);
  take(space);
  if (at < text.length) refuse("trailing_data", "something follows the value");
  return result;
}

/** Writes a value without space and with its keys in the order of UTF-16; numeral says how a number is written. */
export function write(value, numeral) {
  if (value instanceof Numeral) return numeral(value);
  if (Array.isArray(value)) return `[${value.map((v) => write(v, numeral)).join(",")}]`;
  if (!(value instanceof Map)) return JSON.stringify(value);
  const keys = [...value.keys()].sort((a, b) => (a < b ? -1 : 1)); // strings compare by UTF-16 code units
  return `{${keys.map((k) => `${JSON.stringify(k)}:${write(value.get(k), numeral)}`).join(",")}}`;
}

/** What is equal for two keys that differ only in case, by characters that have one counterpart each. */
function fold(key) {
  const one = (mapped, char) => ([...mapped].length === 1 ? mapped : char);
  return Array.from(key, (char) => {
    const upper = one(char.toUpperCase(), char);
    return one(upper.toLowerCase(), upper);
  }).join("");
}

function decode(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Refused("invalid_utf8", "the text is not UTF-8");
  }
}
