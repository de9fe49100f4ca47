// Package delivery turns the registry into signed policies and sees that every gateway runs the right one.
//
//	change ── registry_head.generation + 1 ──▶ leader: one repeatable-read snapshot
//	                                             │  for each audience: policy.Compile
//	                 content unchanged ◀─────────┼─────────▶ content changed
//	       compiled_generation moves             │           sign, gzip, insert revision,
//	                                             ▼           audit policy.published
//	                                   cannot be compiled: compile_error, the old revision stays in force
//
//	every replica: follow ── loads new revisions ──▶ snapshots behind an atomic pointer ──▶ GET /v1/policy
//
// One replica compiles, all load what is stored, so all serve the same bytes. A revision is named by the generation
// that last changed its content; a snapshot also knows up to which generation it speaks (CompiledGeneration), which
// moves when nothing that this audience sees has changed. Revisions of one epoch never go back: an index in the
// database and the follow loop both see to that.
//
// Two leaders at once, for the seconds that a lost connection goes unnoticed, do no harm: what the slower one writes
// is refused by the guard in publishTx.
//
// Nothing on the path of a 304 touches the database. What replaces it is the age of this replica's last look at
// registry_head (Fresh): a replica that is cut off renews no lease.
package delivery
