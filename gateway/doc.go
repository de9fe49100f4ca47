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
//   - Conditions see the arguments that were read, without our own confirmation token; for a resource its address. What a
//     condition forbids is not forwarded, and one that cannot be evaluated forbids for a grant and holds for a guardrail.
//   - A call that runs keeps to what its guardrails demand of it on its way, a held one too: how often it is made, what it
//     costs in tokens, how long its result is. A token is taken to be four bytes of the arguments and of every message
//     that passes back for the call, as it passes; the request is reserved before, and given back if it was never sent.
//     What a result costs beyond what is left is owed, and the next call waits until it came back. A result that is too
//     long is withheld whole, on whichever stream of the session it comes, and the caller is told so.
//   - All of that is counted in each instance by itself, from nothing when it starts: behind a balancer with three of them,
//     a caller may get up to three times as much.
//   - Where only the sign-in of the user is in the way, the answer is 401 with error="insufficient_user_authentication" (RFC
//     9470): a client that knows it asks the provider for what acr_values and max_age name, and makes the call again with the
//     new token. No answer has begun by then, whatever the era of the protocol and the transport of the server are, so that
//     there is none that could not carry it; batches are refused anyway. Clients that only know 401 sign their user in as
//     ever. So a token that was issued after such a challenge, and is no better, gets a denial that the model can read, and
//     no second challenge: the provider does not do what is asked for, and to ask again would send the user round in
//     circles. Who presents the same token again is challenged again.
//   - A caller's token goes to nobody but the control plane, as evidence of who asks for an approval.
//
// It speaks both eras of MCP on one address: up to 2025-11-25 with initialize and sessions, which it binds to
// the principal that opened them, and the stateless protocol from 2026-07-28 on, where headers must match the
// body. It never re-encodes what it forwards; of answers it rewrites only lists and texts that are not safe (see package
// cleanse), and replaces those that are too long, cannot be made safe, or are not of the form that was approved. No message of
// an upstream that it holds in memory is longer than 32 MiB.
package gateway
