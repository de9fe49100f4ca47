// Package policy is the language of permission: who may call what, and under
// which obligations. It is pure: no SQL, no HTTP, no clock of its own, so that
// the control plane, a gateway and a test come to the same verdict from the same
// bytes.
//
//	Source ──Compile──▶ Document ──Marshal──▶ bytes ──Sign──▶ the wire
//	                                            │
//	  Verdict ◀──Decide── Index ◀──NewIndex── Decode ◀──Verify
//
// # Meaning
//
// A call is decided in four steps, and the first that denies ends it:
//
//  1. The server is active, the tool is known, and what the server offers is the
//     definition that a person pinned; else unknown_server, unknown_tool,
//     suspended or drifted.
//  2. No deny guardrail matches; else denied_by_guardrail.
//  3. A grant matches, inside its time window and under its condition; else
//     no_grant, or condition_not_met where only a condition is in the way.
//  4. What the matching guardrails demand is united, the strictest of each. A
//     second factor that the caller did not show is mfa_required, a sign-in that
//     is too old or of another class step_up_required, a requirement that is not
//     true requirement_not_met. If an approval is demanded, the call is held
//     (approval_required) for people. What is left are obligations for
//     whoever executes the call: limits to how often it is made, budgets of
//     tokens, and how long its result may be.
//
// Grants only allow and guardrails only restrict: adding a grant never takes
// anything away, adding a guardrail never gives anything. Tests hold that for
// random policies.
//
// # Who approves
//
// An approval has one or more ways: a quorum of people of some teams, any one of
// which is enough. Several guardrails that hold one call are united: every
// combination of a way of each, with the greatest quorum and the teams that both
// accept. So whoever may approve by all may approve by each. What any of them asks
// for is asked for (evidence of the caller, a fresh sign-in of who approves, that
// it is not who made the grant), and only what all of them allow is allowed: a
// scope wider than the very call, a fallback after some time, an emergency.
//
// # What is not known
//
// A caller may come without a user, without an agent, or with a model that
// nobody vouches for. What is not known matches every guardrail that asks for it,
// and never a grant or the exception of a guardrail. So a caller that hides or
// invents something about itself gets less, never more.
//
// # Conditions
//
// A condition of a rule, or what an effect requires, is one expression in CEL: the
// standard library alone, numbers comparable whatever their types, and these
// variables:
//
//	args       map        the arguments of the call; of a resource {"uri": …}
//	principal  object     issuer, subject, groups, agent, model, model_assurance, amr, auth_time
//	tool       object     name, kind, risk
//	server     object     name, labels, team
//	now        timestamp  when the call is made
//
// An expression is true, false, or cannot be evaluated. A grant, and a requirement,
// is met only by true; a guardrail holds unless it is false. So an error gives
// nothing to anybody:
//
//	            true     false          error
//	grant       matches  does not       does not
//	guardrail   holds    does not       holds
//	require     met      denies         denies
//
// What of the principal is not known is not there: has() tells, and using it is an
// error. Arguments are read strictly and exactly. An integer is an int however it
// is spelt (100, 100.0 and 1e2 are one), one above that a uint, and every other
// number a double if that double's shortest decimal is the number. If one number
// cannot be kept, or readers of JSON could take the arguments for different ones,
// args is not there at all.
//
// In a list, arguments are not known yet: what depends on them is decided in favour
// of the caller (Index.Listing).
//
// What an expression may cost is bounded twice: when it is saved, an estimate for
// arguments as long as they may be refuses what multiplies them; when it is
// evaluated, the cost is counted and ends it, which is an error. Patterns and time
// zones are written out, so that they are known to be some. Within one decision
// each expression is evaluated at most once for a tool, and only for a rule whose
// subject matches.
//
// # One encoding
//
// A Document has exactly one encoding, and Decode refuses any other. A Call has
// one digest, of its RFC 8785 form; testdata/call_vectors.json lets another
// implementation check that it computes the same.
package policy
