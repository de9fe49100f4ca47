// Package notify tells people and programs what happened: by signed webhooks, to a chat and by mail.
//
// # From a change to a message
//
// What happened is written as a notice in the transaction of the change itself: both or neither. After the commit a
// notifier turns it into deliveries, one for each channel that asked for it, and delivers those.
//
//	change + Append ─ commit ─▶ notice ─ taken ─┬─▶ delivery (at once, or what is urgent)
//	                                            └─▶ delivery that collects: a digest, until its time is up
//
//	delivery: waiting ─┬─ the receiver took it ──────────────▶ delivered
//	             ▲  │  ├─ ten tries in three days, or refused
//	             │  │  │  for good ────────────────────────────▶ failed
//	             │  │  └─ its channel is paused or ended, or
//	             │  │     nothing of a digest is left to say ─▶ cancelled
//	             └──┘ leased, tried, and due again later
//
// Finished deliveries stay finished; to deliver one again by hand makes a new one with the same message id.
//
// # Who is right
//
//   - The outbox is the database. The hub's wake-up after a commit is a hint, and every notifier also looks by itself.
//   - Each replica runs a notifier. A delivery is leased by moving its due time ahead in the statement that picks it
//     (for update skip locked), so no two try it at once. One that dies between the receiver's answer and the record of
//     it leaves a lease that runs out: the receiver gets the message again, with the same id. At least once, never lost.
//   - The clock is the database's.
//   - A message carries ids and facts, never arguments, reasons or tokens. Its link needs a sign-in.
//   - All names in it are hostile: they are shortened, hidden characters become visible, and nothing in them becomes a
//     link, a mention or a header.
//   - Addresses are typed by admins and dialled by us, so each connection is judged by the address it really goes to
//     (see internal/egress), and no redirect is followed.
//   - Sealed in the database: addresses and signing secrets.
//   - Locks are taken in one order: the channel, then its deliveries.
package notify
