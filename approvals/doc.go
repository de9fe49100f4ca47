// Package approvals is the queue of exact calls that wait for a person's second signature, and the tokens by
// which an approved call is executed at most once.
//
// # A request
//
// A request is one exact call: its digest covers issuer, epoch, gateway, server, endpoint, tool, definition,
// arguments and caller (policy.Call). The same call asked for again joins the open request.
//
//	              ┌─ quorum of votes ─▶ approved ─┬─ token redeemed ───────────▶ closed
//	              │                               ├─ not claimed or redeemed ──▶ closed
//	ask ─▶ pending┤                               └─ a person, the caller, or
//	              │                                  the policy takes it back ─▶ revoked
//	              ├─ votes to deny ───▶ denied
//	              ├─ time is up ──────▶ expired      (never approved by time-out)
//	              ├─ the caller ──────▶ cancelled
//	              └─ policy says no ──▶ superseded
//
// Everything but pending and approved is terminal; a trigger in the schema refuses to leave it. A request is
// spent the moment its token is redeemed, so an identical retry makes a new pending request.
//
// # A confirmation
//
// A confirmation is the right to execute that call once. The gateway that asked claims its token and redeems
// it just before it forwards the call.
//
//	claim ─▶ issued ─┬─ redeem ──▶ redeemed ─┬─ outcome ────────▶ succeeded | failed
//	           ▲  │  ├─ time ────▶ expired   └─ none in time ───▶ indeterminate ─ late outcome ─▶ succeeded | failed
//	           └──┘  └─ request revoked ─▶ revoked
//	     re-claim: a new token, the old one is dead
//
// Never back: there is no lease that returns, since that would be a second execution. A gateway that dies
// after it redeemed leaves "indeterminate" behind, and a person looks. The promise is at most once.
//
// # Who is right
//
//   - The clock is the database's (clock_timestamp(), read after a lock was granted, never now()).
//   - The policy is evaluated again at ask, vote, claim and redeem, and the statement that changes the state
//     also requires that the generation which was evaluated is still the current one.
//   - Locks are always taken in one order: the request, then its confirmation.
//   - Every transition is written to the audit log in its own transaction. Redeeming does it in the very
//     statement; that one event, confirmation.redeemed, also records that the request is closed.
//   - Sealed in the database: the call with its arguments, and who called. In clear: digests and names.
package approvals
