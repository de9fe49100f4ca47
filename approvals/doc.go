// Package approvals is the queue of exact calls that wait for a person's second signature, and the tokens by
// which an approved call is executed at most once.
//
// # A request
//
// A request is one exact call: its digest covers issuer, epoch, gateway, server, endpoint, tool, definition,
// arguments and caller (policy.Call). The same call asked for again joins the open request.
//
//	              ┌─ quorum of any set of approvers ─▶ approved ─┬─ token redeemed ───────────▶ closed
//	              ├─ one person, in an emergency ────▶ approved  ├─ not claimed or redeemed ──▶ closed
//	              │                                              └─ a person, the caller, or
//	ask ─▶ pending┤                                                 the policy takes it back ─▶ revoked
//	        ▲  │  ├─ votes to deny ──────────────────▶ denied
//	        └──┘  ├─ time is up ─────────────────────▶ expired      (never approved by time-out)
//	    escalated ├─ the caller ─────────────────────▶ cancelled
//	              └─ policy says no ─────────────────▶ superseded
//
//	ask, like what was approved with a scope ─▶ approved            (one use of an allowance)
//
// Everything but pending and approved is terminal; a trigger in the schema refuses to leave it. A request is
// spent the moment its token is redeemed, so an identical retry makes a new pending request.
//
// # Who decides
//
// The terms of a request are what the policy demands of it (policy.Approval), with every team by its id. They name one
// or more sets of approvers, each with its quorum; any one of them is enough. Nobody has a say in a call of their own, in
// one of an agent that they answer for, or, where a guardrail says so, in one that is allowed by a grant that they made or
// last changed. A vote counts while its voter may vote, and an approving one if its voter had signed in as the terms ask
// by now. Enough denials, of whomever, win.
//
// When a request has waited as long as its terms say, the fallback is asked: one more set of approvers. The time to decide
// stays as it was. When the policy changes, a pending request takes the new terms, and an approval that was given under
// looser ones is taken back (terms.covers).
//
// # Beyond one exact call
//
//   - An approval may have a scope, within what the guardrail allows: some more calls, within some time, in which some
//     arguments may differ. It is the least that all who approve allow, and it opens an allowance. Each use of that is a
//     request of its own, with its own token and its own audit events, approved at once.
//   - An emergency: one person whom the guardrail names for it approves alone, with a reason and a ticket. Everybody is
//     told, and a review stays open until another person has closed it.
//   - The caller of a server that enforces by itself may be shown the token, once.
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
// after it redeemed leaves "indeterminate" behind, and a person looks and settles it. The promise is at most once.
//
// # Who is right
//
//   - The clock is the database's (clock_timestamp(), read after a lock was granted, never now()).
//   - The policy is evaluated again at ask, vote, claim and redeem, and the statement that changes the state
//     also requires that the generation which was evaluated is still the current one.
//   - Locks are always taken in one order: the request, then its confirmation; the request, its allowance, then the
//     requests that the allowance approved.
//   - Every transition is written to the audit log in its own transaction. Redeeming does it in the very
//     statement; that one event, confirmation.redeemed, also records that the request is closed.
//   - People are told by notices, which are written in the transaction of what they tell about. They hold ids and names.
//   - Sealed in the database: the call with its arguments, and who called. In clear: digests and names.
package approvals
