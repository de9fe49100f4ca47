// Package gateway is the reference enforcement point: a transparent MCP proxy that decides on every call.
//
//	caller ──token──▶ authenticate ─▶ read strictly ─▶ decide ─┬─ allow ─▶ validate ─▶ forward the bytes that were read
//	                     401             400, 413              ├─ hold ──▶ ask, claim, redeem ─▶ forward the canonical bytes
//	                                                           └─ deny ──▶ say what kind, and what next
//	        ◀──────────────── lists filtered to what is granted and pinned ◀──────────────── upstream (HTTP or stdio)
//
// What it promises:
//
//   - It decides on the body that it forwards. A body that two parsers could read differently is refused.
//   - A tool is callable, and listed, only while what its server serves is the pinned definition. The gateway
//     looks before the first call, when the server says that its list changed, and periodically; a difference
//     seen in passing denies at once, before the control plane knows.
//   - No method passes that it does not know, no call without a policy whose lease runs.
//   - A held call is executed at most once for each approval: the confirmation is redeemed, by one request of
//     one attempt, before the first byte goes to the server.
//   - A caller's token goes to nobody but the control plane, as evidence of who asks for an approval.
//
// It speaks both eras of MCP on one address: up to 2025-11-25 with initialize and sessions, which it binds to
// the principal that opened them, and the stateless protocol from 2026-07-28 on, where headers must match the
// body. It never re-encodes what it forwards; of answers it rewrites only lists.
package gateway
