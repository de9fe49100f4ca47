// Package registry knows every server, who owns it, what it offers, and who may call that. It finds out
// when a tool changes under us.
//
// # Servers
//
//	proposed ──first pin──▶ active ◀──▶ suspended
//	    └───────────────────┴──────────────┴────▶ retired   (for ever)
//
// A server belongs to a team, which may give it to another one ([Registry.Edit]), and is reached by gateways only. Its
// endpoint is where it is; a new endpoint unpins everything. One that was imported may be nowhere yet: it cannot be
// looked at before [Registry.Move] says where it is.
//
// # Tools and their definitions
//
// A tool is a name that a server offers. A definition is one immutable version of it: the raw JSON, identified
// by the digest of its canonical form. The definition a person accepted is pinned.
//
//	definition:  pending ──Pin──▶ approved        pending ──another one is served──▶ superseded
//	             pending ──Reject──▶ rejected     approved ──another one is pinned──▶ superseded
//	             rejected ──Pin──▶ approved       superseded ──served again──▶ pending
//
//	tool:  unpinned ──Pin──▶ pinned ──not offered──▶ gone ──offered exactly as pinned──▶ pinned
//	                         pinned or gone ──anything else is served──▶ held ──Pin──▶ pinned
//
// Only a tool that is pinned, neither held nor gone, is callable. What a gateway saw (a discovery or an observation)
// goes through one function, [compare], and one writer, receiveTx. These invariants hold whatever is observed, how often
// and by whom, and a state-machine test keeps them:
//
//   - an observation can hold a tool, and never releases one: serving the pinned text again does not help;
//   - only Pin pins, only a person does, and it pins only what the endpoint served last;
//   - what is gone is not callable, and what comes back is callable only if it is what was pinned, and not held;
//   - a partial observation says nothing of what is not in it.
//
// # Drift
//
// What is held waits in a queue ([Registry.Drifts]), the gravest first. [Differences] says in what it differs from what
// is pinned, and how grave that is; a definition that could not even be pinned is critical. A person accepts it
// ([Registry.Pin]), blocks it ([Registry.Reject]) or keeps it held with a note ([Registry.KeepHeld]). Each names the
// definition that was on the screen, and is refused if something else is served by then. Severity orders the queue
// and decides nothing; while a tool is held it never falls, so that another change does not hide the first.
//
// # Risk
//
// Raising a tool's risk takes one person, lowering it two: Pin with a lower one pins at the higher and proposes the
// lower, [Registry.ProposeRisk] proposes it later, and another person decides.
//
//	proposal:  open ──DecideRisk, by another person──▶ approved | declined
//	             ├──WithdrawRisk, by the proposer──▶ withdrawn
//	             └──another definition pinned, risk raised, server moved or retired──▶ superseded
//
// # Policy
//
// Grants and guardrails live here as well, in the words of package policy. Every change of policy moves
// registry_head.generation in its own transaction, as its last statement ([BumpTx]), so the row lock orders
// changes and is held only for the commit. [SnapshotTx] reads everything a compile needs, and the generation
// it is at, in one repeatable-read transaction.
//
// # Files
//
// What package desired says in files is compared with what is there ([Registry.Plan]), applied whole ([Registry.Apply])
// and written back ([Registry.Export]).
//
//	desired.Set ──Plan──▶ a plan with a digest ──Apply, while it is still the plan──▶ the registry is as the set says
//	     ▲                                                                                      │
//	     └──────────────────────────────────────Export──────────────────────────────────────────┘
//
// # Locks
//
// Servers row, then the rows below it, then the audit event, then registry_head: always in this order.
package registry
