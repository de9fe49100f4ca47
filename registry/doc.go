// Package registry knows every server, who owns it, what it offers, and who may call that. It finds out
// when a tool changes under us.
//
// # Servers
//
//	proposed ──first pin──▶ active ◀──▶ suspended
//	    └───────────────────┴──────────────┴────▶ retired   (for ever)
//
// A server is registered by a person and reached by gateways only. Its endpoint is where it is; a new endpoint
// unpins everything.
//
// # Tools and their definitions
//
// A tool is a name that a server offers. A definition is one immutable version of it: the raw JSON, identified
// by the digest of its canonical form. The definition a person accepted is pinned.
//
//	definition:  pending ──Pin──▶ approved ──another is pinned──▶ superseded
//	                │                                                 │
//	                ├──Reject──▶ rejected                    served again (pending)
//	                └──another one is served──▶ superseded
//
//	tool:  unpinned ──Pin──▶ pinned ──anything else is served──▶ held ──Pin──▶ pinned
//
// What a gateway saw (a discovery or an observation) goes through one function, [compare], and one writer,
// applyTx. Two invariants hold whatever is observed, how often and by whom, and a state-machine test keeps them:
//
//   - an observation can hold a tool, and never releases one: serving the pinned text again does not help;
//   - only Pin pins, and it pins only what the endpoint served last.
//
// # Policy
//
// Grants and guardrails live here as well, in the words of package policy. Every change of policy moves
// registry_head.generation in its own transaction, as its last statement ([BumpTx]), so the row lock orders
// changes and is held only for the commit. [SnapshotTx] reads everything a compile needs, and the generation
// it is at, in one repeatable-read transaction.
//
// # Locks
//
// Servers row, then the rows below it, then the audit event, then registry_head: always in this order.
package registry
