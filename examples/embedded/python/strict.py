"""JSON as all readers agree on it, and in one form only (RFC 8785).

json.loads keeps the last of two equal keys, rounds numbers and takes NaN, so that two programs could read the same bytes
as two different calls. This reader refuses what is ambiguous and keeps each number as it was written.

Objects become dicts, arrays lists, and numbers Numerals.
"""

import json
import re
from decimal import Decimal, DecimalException

MAX_EXACT = 2**53 - 1


class Refused(Exception):
    """Why a text was refused; code is the one that the test vectors name."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Numeral:
    """A number, as it was written."""

    def __init__(self, text):
        self.text = text

    def shortest(self):
        """The number as RFC 8785 writes it. One that a double does not keep is refused."""
        double = float(self.text)
        if not re.search("[1-9]", re.split("[eE]", self.text)[0]):
            return "0"  # however large its exponent is
        if abs(double) > MAX_EXACT:
            raise Refused("unsafe_integer", f"{self.text[:40]} is beyond ±(2^53−1)")
        try:
            exact = Decimal(self.text) == Decimal(repr(double))
        except DecimalException:  # an exponent that nothing reaches
            exact = False
        if not exact:
            raise Refused("unsafe_number", f"{self.text[:40]} has more digits than a double keeps")
        return _ecmascript(double)


def _ecmascript(double):
    """A double as ECMAScript writes it: repr has the same digits, and other rules for where the point stands."""
    sign, digits, exponent = Decimal(repr(double)).normalize().as_tuple()
    text, point = "".join(map(str, digits)), len(digits) + exponent  # 0.text × 10^point
    if 0 < point <= 21:
        body = text.ljust(point, "0") if len(text) <= point else f"{text[:point]}.{text[point:]}"
    elif -6 < point <= 0:
        body = "0." + "0" * -point + text
    else:
        mantissa = text[0] + ("." + text[1:] if len(text) > 1 else "")
        body = f"{mantissa}e{point - 1:+d}"
    return "-" * sign + body


_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"')
_CONTROL = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*[\x00-\x1f]')
_WORDS = {"true": True, "false": False, "null": None}


def read(data, depth=128, folded=False):
    """Reads one value from bytes. With folded, keys of an object that differ only in case are refused as well, since a
    lenient reader takes them for one."""
    if data[:3] == b"\xef\xbb\xbf":
        raise Refused("byte_order_mark", "the text begins with a byte order mark")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused("invalid_utf8", "the text is not UTF-8") from None
    reader = _Reader(text, depth, folded)
    value = reader.value(0)
    reader.space()
    if reader.at < len(text):
        raise reader.refused("trailing_data", "something follows the value")
    return value


class _Reader:
    def __init__(self, text, depth, folded):
        self.text, self.depth, self.folded, self.at = text, depth, folded, 0

    def refused(self, code, message):
        return Refused(code, f"{message}, at character {self.at}")

    def space(self):
        self.at = _SPACE.match(self.text, self.at).end()

    def take(self, wanted):
        """Goes over one of the characters, and says which."""
        self.space()
        found = self.text[self.at : self.at + 1]
        if found == "" or found not in wanted:
            raise self.refused("syntax", f"{' or '.join(wanted)} is needed")
        self.at += 1
        return found

    def skip(self, wanted):
        self.space()
        if not self.text.startswith(wanted, self.at):
            return False
        self.at += 1
        return True

    def value(self, level):
        for opens, read_it in (("{", self.object), ("[", self.array)):
            if self.skip(opens):
                if level >= self.depth:
                    raise self.refused("depth", "the value is nested too deep")
                return read_it(level + 1)
        if self.text.startswith('"', self.at):
            return self.string()
        for word, value in _WORDS.items():
            if self.text.startswith(word, self.at):
                self.at += len(word)
                return value
        number = _NUMBER.match(self.text, self.at)
        if not number:
            raise self.refused("syntax", "a value is needed")
        self.at = number.end()
        return Numeral(number.group())

    def object(self, level):
        members, seen = {}, set()
        if self.skip("}"):
            return members
        while True:
            self.space()
            key = self.string()
            if "\0" in key:
                raise self.refused("nul_in_key", "a key holds a NUL")
            if key in members:
                raise self.refused("duplicate_key", "an object has the same key twice")
            if self.folded and fold(key) in seen:
                raise self.refused("case_variant_key", "two keys of an object differ only in case")
            seen.add(fold(key))
            self.take(":")
            members[key] = self.value(level)
            if self.take(",}") == "}":
                return members

    def array(self, level):
        elements = []
        if self.skip("]"):
            return elements
        while True:
            elements.append(self.value(level))
            if self.take(",]") == "]":
                return elements

    def string(self):
        found = _STRING.match(self.text, self.at)
        if not found and _CONTROL.match(self.text, self.at):
            raise self.refused("control_character", "a string holds a control character")
        if not found:
            raise self.refused("syntax", "a string is needed, does not end or has a wrong escape")
        value = json.loads(found.group())
        if any("\ud800" <= c <= "\udfff" for c in value):
            raise self.refused("lone_surrogate", "a string holds half a surrogate pair")
        self.at = found.end()
        return value


def write(value, numeral=Numeral.shortest):
    """The form of RFC 8785: no space, keys in the order of their UTF-16. numeral says how a number is written."""
    if isinstance(value, Numeral):
        return numeral(value)
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return "{" + ",".join(f"{_quoted(key)}:{write(value[key], numeral)}" for key in keys) + "}"
    if isinstance(value, list):
        return "[" + ",".join(write(element, numeral) for element in value) + "]"
    return _quoted(value) if isinstance(value, str) else json.dumps(value)


def _quoted(text):
    """RFC 8785 escapes no more than JSON requires, and so does json.dumps when it is told to."""
    return json.dumps(text, ensure_ascii=False)


def fold(key):
    """What is equal for two keys that differ only in case, by characters that have one counterpart each."""
    return "".join(map(_fold_one, key))


def _fold_one(char):
    if char in "\u0130\u0131":  # the dotted capital and the dotless small i are the same as no other letter
        return char
    upper = char.upper() if len(char.upper()) == 1 else char
    return upper.lower() if len(upper.lower()) == 1 else upper
