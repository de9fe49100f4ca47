"""Answers the questions of a test: each line of the input is {exact}, {arguments} or {call}, each line of the output what
becomes of it. The tests of the control plane ask it their published vectors.

    echo '{"arguments": "{\\"b\\": 1.50, \\"a\\": []}"}' | python3 answers.py
"""

import json
import sys

from calls import call_digest, exact, read_arguments, without_token
from strict import Refused, fold, read, write


def _call(text):
    members = read(text.encode(), depth=65, folded=True)
    arguments = members.get("arguments", {})
    if not isinstance(arguments, dict):
        raise Refused("not_object", "arguments are not an object")
    call = {**members, "arguments": arguments, "epoch": int(members["epoch"].text)}
    digest, canonical, arguments = call_digest(call)
    return {"digest": digest, "canonical": canonical, "arguments": arguments}


ANSWERS = {
    "exact": lambda text: exact(text.encode()),
    "arguments": lambda text: write(without_token(read_arguments(text.encode()))),
    "call": _call,
    "fold": fold,
}

for line in sys.stdin:
    [(kind, text)] = json.loads(line).items()
    try:
        answer = ANSWERS[kind](text)
    except Refused as refused:
        answer = {"refused": refused.code}
    print(json.dumps(answer), flush=True)
