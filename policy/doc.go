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
//  3. A grant matches, inside its time window; else no_grant.
//  4. What the matching guardrails demand is united, the strictest of each. If
//     that is an approval, the call is held (approval_required) for a person.
//
// Grants only allow and guardrails only restrict: adding a grant never takes
// anything away, adding a guardrail never gives anything. Tests hold that for
// random policies.
//
// # What is not known
//
// A caller may come without a user, without an agent, or with a model that
// nobody vouches for. What is not known matches every guardrail that asks for it,
// and never a grant or the exception of a guardrail. So a caller that hides or
// invents something about itself gets less, never more.
//
// # One encoding
//
// A Document has exactly one encoding, and Decode refuses any other. A Call has
// one digest, of its RFC 8785 form; testdata/call_vectors.json lets another
// implementation check that it computes the same.
package policy
