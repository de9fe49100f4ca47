"""Digests: of the definition of a tool, and of one exact call, which is what people approve."""

import hashlib
import re

from strict import MAX_EXACT, Refused, read, write

MAX_ARGUMENT_BYTES = 256 * 1024
MAX_ARGUMENT_DEPTH = 64
TOKEN = re.compile(r"cst_[0-9A-Za-z]{49}")


def digest(domain, canonical):
    """SHA-256 of what is canonical, tied to what it is a digest of."""
    return "sha256:" + hashlib.sha256(f"{domain}\0{canonical}".encode()).hexdigest()


def exact(data):
    """The one form of JSON in which each number stays as it was written."""
    return write(read(data), lambda numeral: numeral.text)


def definition_digest(data):
    """Of one item of tools/list, in the bytes that are sent."""
    return digest("countersign/definition/v1", exact(data))


def read_arguments(data):
    """Reads the arguments of a call, and refuses what two readers could take for two different things."""
    if len(data) > MAX_ARGUMENT_BYTES:
        raise Refused("too_large", "arguments are longer than 256 KiB")
    arguments = read(data, depth=MAX_ARGUMENT_DEPTH, folded=True) if data else {}
    if not isinstance(arguments, dict):
        raise Refused("not_object", "arguments are not an object")
    return arguments


def is_token(value):
    """Whether a value has the form of a confirmation token."""
    return isinstance(value, str) and TOKEN.fullmatch(value) is not None


def without_token(arguments):
    """Arguments as they are approved: a confirmation token does not exist yet then."""
    return {k: v for k, v in arguments.items() if not (k == "confirmation_token" and is_token(v))}


def call_digest(call):
    """The digest of a call, its canonical form, and that of its arguments. The call has the members of docs/policy.md;
    its arguments are what read_arguments gave."""
    _check(call)
    arguments = write(without_token(call["arguments"]))
    members = {name: write(call[name]) for name in _NAMES}
    members["principal"] = write({name: call["principal"].get(name) or "" for name in _PRINCIPAL})
    members["arguments"], members["epoch"] = arguments, str(call["epoch"])
    canonical = "{" + ",".join(f'"{name}":{members[name]}' for name in sorted(members)) + "}"
    return digest("countersign/call/v1", canonical), canonical, arguments


_NAMES = ("definition", "endpoint_digest", "gateway", "issuer", "kind", "server_id", "tool")
_PRINCIPAL = ("agent", "issuer", "model", "subject")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def _check(call):
    """A call says all it has to, in a way that can be written exactly."""
    for name in ("issuer", "gateway", "server_id", "tool"):
        if not call.get(name) or not _line(call[name]):
            raise Refused(name, f"{name} is empty, too long or holds a control character")
    for name in _PRINCIPAL:
        if call["principal"].get(name) and not _line(call["principal"][name]):
            raise Refused(f"principal.{name}", f"{name} is too long or holds a control character")
    for name in ("definition", "endpoint_digest"):
        if not re.fullmatch("sha256:(?!0{64})[0-9a-f]{64}", call.get(name) or ""):
            raise Refused(name, f"{name} is not a digest")
    if call.get("kind") not in ("tool", "prompt", "resource"):
        raise Refused("kind", "kind is not known")
    if not isinstance(call.get("epoch"), int) or not 0 <= call["epoch"] <= MAX_EXACT:
        raise Refused("epoch", "epoch is out of range")


def _line(text):
    return len(text.encode()) <= 2048 and not _CONTROL.search(text)
