// Package usage keeps the records of calls that gateways report, what they add up to, what models cost, and the alerts
// that fire about them.
//
//	gateway ── Record ──▶ call_records, a partition for each week ─┬─▶ usage_hours, usage_days: sums, in the same transaction
//	                                                              ├─▶ usage_parts: what days add up to by fewer names
//	                                                              ├─▶ tool_usage: when a tool was last called
//	                                                              └─▶ unknown_servers: names that nobody registered
//
//	rule + what happened ──▶ open ──▶ acknowledged ──▶ closed
//	                           └────────────────────────▲  by a person, or by itself: it did not happen again
//
// # Who is right
//
//   - A record is what a gateway says, never an event: nothing is decided by it. It holds names and sizes, never arguments.
//   - A record is known by its id and time. Only one that is new is added up, by a trigger, in the transaction that stores
//     it: sending a batch again changes nothing.
//   - Names in records were chosen by callers: they are bounded, and how many different ones are kept is bounded as well.
//   - Sums are kept for each hour as long as the records, and for each day of UTC for longer. Times of calls are counted in
//     [Steps], so that what is read from sums is estimated within a step.
//   - Tokens are estimates of gateways. Costs are computed when they are read, at the prices that counted on the day;
//     of a model without a price they are not known, which is not 0.
//   - One replica at a time looks at the rules, each ten seconds ([Ledger.Run]). That an alert fires once is held by the
//     database: there is one open alert for each rule and thing.
//   - A subject of a call is personal data: see identity.ReadCallers.
package usage
