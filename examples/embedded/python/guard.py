"""Holds the calls of one MCP server to what the control plane says, from inside that server.

    call ── ask ─┬─ 403, 409, no answer ──────────────────────────▶ NotExecuted
                 ├─ not_required ────────────────────────▶ run
                 ├─ approved ── claim, or a carried token ── redeem ─▶ run, once ─▶ outcome
                 └─ pending ── wait ─▶ … or tell where people decide

It evaluates no policy: it asks about every call, and the control plane says for each whether it is allowed, needs an
approval, or is denied. So it fails closed when the control plane cannot be reached, also for calls that need no approval.
"""

import base64
import json
import queue
import secrets
import sys
import threading
import time

from calls import call_digest, definition_digest, is_token, without_token
from controlplane import NoAnswer, Problem
from strict import Refused, read, write

UNAVAILABLE = "NOT EXECUTED: the control plane cannot be reached to ask whether this call may run. Try again later."
LOST = ("denied", "expired", "cancelled", "superseded", "revoked")


class NotExecuted(Exception):
    """The call was not executed, and will not be by this attempt. meta belongs into _meta of the result."""

    def __init__(self, text, reason, approval=None):
        super().__init__(text)
        self.meta = {"countersign/approval": approval} if approval else {"countersign/decision": {"decision": "denied", "reason": reason}}


class Indeterminate(Exception):
    """For a tool to raise that may have been executed or not."""


class Caller:
    """Who calls, as a bearer token says it. Nobody has verified the token yet: the control plane does, with each ask, and
    refuses a call that names somebody else."""

    def __init__(self, token):
        self.token = token
        try:
            payload = token.split(".")[1]
            claims = read(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
            self.issuer, self.subject = claims["iss"], claims["sub"]
            self.agent, self.model = claims.get("azp") or claims.get("client_id") or "", claims.get("model") or ""
        except (IndexError, KeyError, ValueError, AttributeError, Refused):
            raise NotExecuted("NOT EXECUTED: the access token is no token that says who calls.", "token_invalid") from None
        if not all(isinstance(v, str) for v in (self.issuer, self.subject, self.agent, self.model)):
            raise NotExecuted("NOT EXECUTED: the access token is no token that says who calls.", "token_invalid")

    def principal(self):
        return {"issuer": self.issuer, "subject": self.subject, "agent": self.agent, "model": self.model}


class Guard:
    def __init__(self, plane, server, tools, wait=0):
        """tools are the definitions as tools/list sends them, by name; wait is how long a call waits for people."""
        self.plane, self.server, self.tools, self.wait = plane, server, tools, wait
        self._written = {name: json.dumps(tool).encode() for name, tool in tools.items()}
        self._place, self._gateway, self._observed = None, None, None
        self._told, self._busy, self._lock = {}, {}, threading.Lock()
        self._outcomes = queue.Queue()

    def start(self):
        """Follows where this server is in the policy, answers discoveries of it, and reports outcomes, in threads that end
        with the process."""
        for part in (self._follow, self._discover, self._report):
            threading.Thread(target=part, daemon=True).start()

    # One call.

    def call(self, token, tool, arguments, run):
        """Runs a tool if the control plane lets this caller call it with these arguments, which were read by
        calls.read_arguments. run is given exactly what was approved, and never sees a confirmation token."""
        caller, carried = Caller(token), arguments.get("confirmation_token")
        if carried is not None and not is_token(carried):
            raise NotExecuted("INVALID ARGUMENTS (not executed): confirmation_token is no confirmation token; leave it out "
                              "until you are given one.", "invalid_arguments")
        try:
            call, digest = self._exact(caller, tool, arguments)
        except Refused as refused:
            raise NotExecuted(f"INVALID ARGUMENTS (not executed): {refused}. Correct them and call again.", "invalid_arguments") from refused
        with self._alone(digest):
            redemption = self._permission(caller, call, digest, carried)
            return self._run(redemption, json.loads(write(without_token(arguments))), run)

    def _exact(self, caller, tool, arguments):
        """The one call that people approve, and its digest."""
        place = self._place or self._look()
        call = {**place, "tool": tool, "kind": "tool", "definition": definition_digest(self._written[tool]),
                "principal": caller.principal(), "arguments": arguments}
        digest, _, canonical = call_digest(call)
        return {**call, "arguments": json.loads(canonical)}, digest

    def _permission(self, caller, call, digest, carried):
        """Asks, and gives the redemption by which the call may be executed, once; None if it needs no approval."""
        self._tell_end(digest)
        approval = self._say(self.plane.ask, call, digest, caller.token, caller.principal())
        if approval["state"] == "pending" and carried:
            self._say(self.plane.cancel, approval["id"])
            raise NotExecuted("NOT EXECUTED: this confirmation token is for a call with other arguments, or was used already. "
                              "Call again with exactly the arguments that were approved, or without a token to ask anew.", "not_approved")
        until = time.monotonic() + self.wait
        while approval["state"] == "pending" and until - time.monotonic() >= 1:
            approval = self._say(self.plane.approval, approval["id"], min(45, until - time.monotonic()))
        state = approval["state"]
        if state == "not_required":
            return None
        if state == "pending":
            self._told[digest] = approval["id"]
            raise self._held(approval, call, digest)
        if state != "approved":
            raise _ended(approval)
        redemption = "red_" + secrets.token_hex(16)  # of this attempt alone, and nowhere but in memory
        confirmation = carried or self._say(self.plane.claim, approval["id"])
        self._say(self.plane.redeem, confirmation, call, redemption)
        return redemption

    def _say(self, request, *args):
        """One request. Whatever goes wrong, the call is not executed."""
        try:
            return request(*args)
        except NoAnswer as error:
            log(error)
            raise NotExecuted(UNAVAILABLE, "control_plane_unavailable") from error
        except Problem as problem:
            log(problem)
            text = _REFUSALS.get(problem.code) or (_REFUSED if problem.final else UNAVAILABLE)
            raise NotExecuted(text, problem.code) from problem

    def _tell_end(self, digest):
        """Tells the caller, once, that the request it knows of ended without approval; a new ask would make a new one."""
        before = self._told.pop(digest, None)
        if before:
            approval = self._say(self.plane.approval, before, 0)
            if approval["state"] in LOST:
                raise _ended(approval)

    def _held(self, approval, call, digest):
        expires = time.gmtime(time.time() + approval["expires_in"])
        text = (f"APPROVAL REQUIRED (not executed). A person other than you has to approve this exact call at {approval['url']} . "
                f"After the approval, call {call['tool']} again with exactly the same arguments. If you are given a confirmation "
                f"token, add it as confirmation_token. Expires {time.strftime('%H:%MZ', expires)}. Do not change the arguments.")
        return NotExecuted(text, "approval_required", {
            "id": approval["id"], "state": "pending", "url": approval["url"], "callDigest": digest,
            "expiresAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", expires), "retryAfterMs": 5000})

    def _alone(self, digest):
        """Two identical calls take turns: one approval lets one of them go on, and the other asks anew."""
        with self._lock:
            if len(self._busy) > 10_000:
                self._busy = {d: lock for d, lock in self._busy.items() if lock.locked()}
            return self._busy.setdefault(digest, threading.Lock())

    def _run(self, redemption, arguments, run):
        began, result, status, error = time.monotonic(), "", "indeterminate", "the tool ended without an answer"
        try:
            result = run(arguments)
            status, error = "succeeded", ""
            return result
        except Indeterminate as unknown:
            error = str(unknown)
            raise
        except Exception:  # the tool says that it did not do it
            status, error = "failed", "the tool failed"
            raise
        finally:
            if redemption:
                ms = int((time.monotonic() - began) * 1000)
                self._outcomes.put((redemption, status, len(result.encode()), ms, error))

    # What goes on beside calls.

    def _look(self):
        """Learns where this server is in the policy. Nothing is decided by it: what is wrong in it, or old, the control
        plane refuses. So its signature does not matter here."""
        document = self._say(self.plane.policy)
        if self._gateway is None or self._revision != document["revision"]:
            self._gateway = self._say(self.plane.report_status, document["epoch"], document["revision"])["gateway_id"]
        self._revision = document["revision"]
        for server in document["servers"]:
            if server["name"] == self.server:
                self._place = {"issuer": document["issuer"], "epoch": document["epoch"], "gateway": self._gateway,
                               "server_id": server["id"], "endpoint_digest": server["endpoint"]["digest"]}
                return self._place
        self._place = None
        raise NotExecuted("DENIED (not executed): this server is not registered, or its gateway may not see it.", "unknown_server")

    def _follow(self):
        while True:
            try:
                self._look()
                self._observe()
                self.plane.report_status(self._place["epoch"], self._revision)
            except (NotExecuted, NoAnswer, Problem) as error:
                log(error)
            time.sleep(20 if self._place else 2)

    def _observe(self):
        """Tells once for each endpoint what is served there: where it is not what is pinned, it is held for everybody."""
        place = self._place
        if self._observed != place["endpoint_digest"]:
            self.plane.observe({"server_id": place["server_id"], "endpoint_digest": place["endpoint_digest"], **self._offer()})
            self._observed = place["endpoint_digest"]

    def _offer(self):
        return {"tools": list(self.tools.values()), "prompts": [], "resources": [], "resource_templates": []}

    def _discover(self):
        """Answers what this server offers, whenever the control plane asks."""
        while True:
            try:
                job = self.plane.lease(30)
                if job and job["server"] == self.server:
                    self.plane.found(job["id"], self._offer())
                elif job:
                    self.plane.not_ours(job["id"])
            except (NoAnswer, Problem) as error:
                log(error)
                time.sleep(2)

    def _report(self):
        """Reports how approved calls ended. A report is repeated until it arrives or is refused; an execution never is."""
        while True:
            outcome, wait = self._outcomes.get(), 1
            while True:
                try:
                    self.plane.outcome(*outcome)
                    break
                except (NoAnswer, Problem) as error:
                    log(error)
                    if isinstance(error, Problem) and error.final:
                        break
                    time.sleep(wait)
                    wait = min(30, wait * 2)


_REFUSED = "NOT EXECUTED: the control plane did not accept this. Tell the operator of the server."
_REFUSALS = {
    "policy_denied": "DENIED by policy (not executed): no grant allows this call, or a guardrail forbids it. Do not retry; ask an admin.",
    "evidence_refused": "NOT EXECUTED: the access token is not good. Sign in anew, then call again.",
    "evidence_mismatch": "NOT EXECUTED: the access token is not good. Sign in anew, then call again.",
    "too_many_pending": "NOT EXECUTED: too many of your calls wait for approval already. Wait until some are decided.",
    "call_digest_mismatch": "NOT EXECUTED: this confirmation token is for a call with other arguments. It was not used up.",
    "confirmation_used": "NOT EXECUTED: the approval of this call was used already. Call again without a token to ask anew.",
    "token_revealed": "NOT EXECUTED: the confirmation token was shown to the person who called. Ask them for it, and call again "
                      "with it as confirmation_token, everything else unchanged.",
    **dict.fromkeys(("confirmation_expired", "confirmation_revoked", "confirmation_void", "confirmation_unknown",
                     "token_malformed", "not_approved", "claim_too_late"),
                    "NOT EXECUTED: the approval of this call is no longer good. Call again without a token to ask anew."),
}


def _ended(approval):
    texts = {
        "denied": "DENIED (not executed): an approver denied this call. Do not repeat it unless your user asks for it again",
        "expired": "NOT EXECUTED: nobody decided on this call in time. Call again to ask anew",
        "cancelled": "NOT EXECUTED: the request for approval was withdrawn",
        "superseded": "NOT EXECUTED: the tool or the policy changed while the call waited. Call again to ask anew",
        "revoked": "NOT EXECUTED: the approval was taken back",
    }
    text = texts.get(approval["state"], "NOT EXECUTED: the approval of this call was used already. Call again to ask anew")
    if approval["state"] == "denied" and approval.get("reason"):
        text += ". The reason given: " + "".join(c if c.isprintable() else " " for c in approval["reason"])[:500]
    return NotExecuted(f"{text} (request {approval['id']}).", "not_approved")


def log(message):
    print(message, file=sys.stderr, flush=True)
