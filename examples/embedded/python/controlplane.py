"""Requests to the control plane, with the credential of one embedded gateway."""

import base64
import http.client
import json
import threading
import time
import urllib.error
import urllib.parse
import urllib.request


class Problem(Exception):
    """The control plane answered, and said no: status and the stable code of RFC 9457."""

    def __init__(self, status, code, detail="", retry_after=None):
        super().__init__(f"the control plane answered {status} {code}: {detail}")
        self.status, self.code, self.retry_after = status, code, retry_after

    @property
    def final(self):
        """Whether it was understood and refused, so that asking again changes nothing."""
        return self.status < 500 and self.status not in (401, 429)


class NoAnswer(Exception):
    """Nobody knows whether the control plane acted."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None  # the credential is for the control plane alone


class ControlPlane:
    def __init__(self, base, client_id, client_secret, instance):
        self.base, self.instance = base.rstrip("/"), instance
        pair = f"{urllib.parse.quote(client_id, '')}:{urllib.parse.quote(client_secret, '')}"
        self._basic = "Basic " + base64.b64encode(pair.encode()).decode()
        self._opener = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))
        self._lock, self._token, self._until = threading.Lock(), None, 0.0

    # One method for each request; docs/gateway-authors.md has them all.

    def report_status(self, epoch, revision):
        status = {"instance": self.instance, "version": "example", "epoch": epoch,
                  "active_revision": revision, "received_revision": revision}
        return self.call("PUT", "/v1/gateways/self/status", status)

    def policy(self):
        return self.call("GET", "/v1/policy", accept="application/vnd.countersign.policy+json;v=1")

    def ask(self, call, digest, evidence, principal):
        return self.call("POST", "/v1/approvals", {"call": call, "call_digest": digest, "evidence": evidence, "principal": principal})

    def approval(self, approval, wait):
        return self.call("GET", f"/v1/approvals/{_id(approval)}?wait={int(wait)}", seconds=wait + 15)

    def cancel(self, approval):
        return self.call("POST", f"/v1/approvals/{_id(approval)}/cancel", {})

    def claim(self, approval):
        return self.call("POST", f"/v1/approvals/{_id(approval)}/token", {})["token"]

    def redeem(self, token, call, redemption):
        """Uses a token up. When it returns, this attempt and nobody else may execute the call, once.

        It asks again only while no answer came, with the same redemption: "replayed" is then the answer to the first
        try. To a first try it is somebody else's.
        """
        body = {"token": token, "call": call, "redemption_id": redemption, "instance": self.instance}
        for attempt in range(4):
            try:
                if self.call("POST", "/v1/confirmations/redeem", body)["replayed"] and attempt == 0:
                    raise Problem(410, "confirmation_used", "it was redeemed before us")
                return
            except (NoAnswer, Problem) as error:
                if isinstance(error, Problem) and error.final or attempt == 3:
                    raise
                time.sleep(0.25 * 2**attempt)

    def outcome(self, redemption, status, size, ms, error=""):
        body = {"status": status, "error": error, "response_bytes": size, "duration_ms": ms}
        return self.call("POST", f"/v1/confirmations/{_id(redemption)}/outcome", body)

    def lease(self, wait):
        return self.call("POST", "/v1/discoveries/lease", {"instance": self.instance, "wait": wait}, seconds=wait + 15)

    def found(self, job, offer):
        return self.call("POST", f"/v1/discoveries/{_id(job)}/result", offer)

    def not_ours(self, job):
        body = {"error": "This gateway is embedded in another server.", "steps": [], "retry": True}
        return self.call("POST", f"/v1/discoveries/{_id(job)}/failure", body)

    def observe(self, observation):
        return self.call("POST", "/v1/observations", observation)

    # What they have in common.

    def call(self, method, path, body=None, seconds=10, accept="application/json"):
        """One request with an access token; one that is refused is fetched anew, once."""
        data = None if body is None else json.dumps(body).encode()
        for attempt in (0, 1):
            token = self._bearer()
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "Accept": accept}
            try:
                return self._send(method, path, headers, data, seconds)
            except Problem as problem:
                if problem.status != 401 or attempt == 1:
                    raise
                with self._lock:
                    if self._token == token:
                        self._token = None
        raise AssertionError("unreachable")

    def _bearer(self):
        with self._lock:
            if self._token is None or time.monotonic() > self._until:
                headers = {"Authorization": self._basic, "Content-Type": "application/x-www-form-urlencoded"}
                got = self._send("POST", "/oauth/token", headers, b"grant_type=client_credentials", 10)
                self._token, self._until = got["access_token"], time.monotonic() + got["expires_in"] - 30
            return self._token

    def _send(self, method, path, headers, data, seconds):
        request = urllib.request.Request(self.base + path, data=data, headers=headers, method=method)
        try:
            with self._opener.open(request, timeout=seconds) as response:
                text = response.read()
                return json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            raise _problem(error) from None
        except (OSError, ValueError, http.client.HTTPException) as error:  # no connection, a time-out, half an answer
            raise NoAnswer(f"{path}: {error!r}") from error


def _problem(error):
    try:
        said = json.loads(error.read(64 << 10))
    except (OSError, ValueError):
        said = {}
    said = said if isinstance(said, dict) else {}
    wait = error.headers.get("Retry-After", "")
    code = said.get("code") or said.get("error") or "unknown"  # the token endpoint answers as RFC 6749 says
    return Problem(error.code, code, said.get("detail", ""), int(wait) if wait.isdigit() else None)


def _id(text):
    return urllib.parse.quote(text, safe="")
