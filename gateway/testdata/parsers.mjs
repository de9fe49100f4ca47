// Reads JSON as the most different parsers of the world do, so that a test can tell whether a message means the same to
// all of them.

// The keys that parsers take for one: as they are; without regard to case, as Go and some others do, long s and the
// Kelvin sign included; and up to a NUL, as those do that hand keys to C.
const fold = (key) => key.normalize("NFKC").toLowerCase().replaceAll("\u017f", "s");
const cut = (key) => key.split("\0", 1)[0];

class Loose {
  constructor(text, { key = (k) => k, first = false } = {}) {
    Object.assign(this, { text: text.replace(/^\ufeff/, ""), at: 0, key, first });
  }

  // What follows the first value is not looked at, comments are spaces, and commas may be too many.
  skip() {
    const space = /(?:[\s\ufeff\0]|\/\/[^\n]*|\/\*[^]*?\*\/|#[^\n]*)*/y;
    space.lastIndex = this.at;
    space.test(this.text);
    this.at = space.lastIndex;
    return this.text[this.at];
  }

  value() {
    const c = this.skip();
    if (c === undefined) throw new SyntaxError("end");
    if (c === "{") return this.object();
    if (c === "[") return this.array();
    if (c === '"' || c === "'") return this.string(c);
    const word = /[^\s,:\]}]+/y;
    word.lastIndex = this.at;
    if (!word.test(this.text)) throw new SyntaxError(`a stray ${c}`);
    const found = this.text.slice(this.at, word.lastIndex);
    this.at = word.lastIndex;
    if (found === "null") return null;
    if (found === "true" || found === "false") return found === "true";
    return Number(found);
  }

  object() {
    const object = Object.create(null);
    this.at++;
    for (;;) {
      const c = this.skip();
      if (c === undefined || c === "}") break;
      if (c === ",") { this.at++; continue; }
      const key = this.key(String(this.value()));
      if (this.skip() === ":") this.at++;
      const value = this.value();
      if (!(this.first && key in object)) object[key] = value;
    }
    this.at++;
    return object;
  }

  array() {
    const array = [];
    this.at++;
    for (;;) {
      const c = this.skip();
      if (c === undefined || c === "]") break;
      if (c === ",") { this.at++; continue; }
      array.push(this.value());
    }
    this.at++;
    return array;
  }

  string(quote) {
    let out = "";
    for (this.at++; this.at < this.text.length && this.text[this.at] !== quote; this.at++) {
      let c = this.text[this.at];
      if (c === "\\") {
        c = this.text[++this.at];
        const plain = { n: "\n", t: "\t", r: "\r", b: "\b", f: "\f" }[c];
        if (c === "u" || c === "x") {
          const digits = this.text.substr(this.at + 1, c === "u" ? 4 : 2);
          this.at += digits.length;
          c = String.fromCharCode(parseInt(digits, 16));
        } else c = plain ?? c;
      }
      out += c;
    }
    this.at++;
    return out;
  }
}

// Decodes bytes as somebody would who does not mind forms of UTF-8 that are longer than they need to be.
const overlong = (bytes) =>
  Buffer.from(bytes.toString("latin1").replace(/[\xc0\xc1]([\x80-\xbf])/g, (m) => String.fromCharCode(((m.charCodeAt(0) & 1) << 6) | (m.charCodeAt(1) & 63))), "latin1").toString("utf8");

const utf16 = (bytes) => (bytes[1] === 0 ? bytes.toString("utf16le") : bytes[0] === 0 ? bytes.subarray(0, bytes.length & ~1).swap16().toString("utf16le") : bytes.toString("utf8"));

const readers = {
  strict: (b) => JSON.parse(b.toString("utf8")),
  last: (b) => new Loose(b.toString("utf8")).value(),
  first: (b) => new Loose(b.toString("utf8"), { first: true }).value(),
  folded: (b) => new Loose(b.toString("utf8"), { key: fold }).value(),
  foldedFirst: (b) => new Loose(b.toString("utf8"), { key: fold, first: true }).value(),
  cut: (b) => new Loose(b.toString("utf8"), { key: cut }).value(),
  overlong: (b) => new Loose(overlong(b)).value(),
  utf16: (b) => new Loose(utf16(Buffer.from(b))).value(),
  latin1: (b) => new Loose(b.toString("latin1")).value(),
};

// What each of them would do: the method, what it is about, and with which arguments.
export function readings(body) {
  const seen = {};
  for (const [name, read] of Object.entries(readers)) {
    try {
      const m = read(body);
      const about = m.params?.name ?? m.params?.uri ?? "";
      seen[name] = JSON.stringify([m.method ?? "", about, m.params?.arguments ?? null]);
    } catch (error) {
      seen[name] = `refused: ${error.message}`;
    }
  }
  return seen;
}
