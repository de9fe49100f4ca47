// Package client is the Go library for gateways: the policy, and the right to execute.
//
// Two parts. A [Client] speaks /v1 with the gateway's own credential: it asks for approval, claims, redeems,
// reports. A [Feed] keeps the policy current and tells whether it may still be used:
//
//	             200, signed, newer                     lease over
//	none ───────────────────────────▶ current ─────────────────────────▶ expired
//	 │  start with a copy on disk ─▶    │  ▲                                │
//	 │  whose lease still runs          │  └── 200 or 304 with Policy-Lease ┘
//	 └────────────── 403 gateway_revoked┴──▶ revoked (the copy on disk is wiped)
//
// In every state but current, [Feed.Current] returns an error and the gateway denies.
//
// # How to use it
//
//   - Make one [Client] and one [Feed] for each process, with a state directory that outlives it, and run
//     [Feed.Run] for as long as the process lives.
//   - For each call take [Feed.Current] anew and decide by its Index. On an error deny, whatever it is.
//   - Where policy is remembered elsewhere (lists that were sent, sessions), wait for [Feed.Changed].
//   - For a held call: [Client.Ask], then [Client.Approval], [Client.Claim], [Client.Redeem], and only when that
//     returns nil forward the call, once, and say how it ended with [Client.ReportOutcome].
//   - Tell about calls with a [Recorder], which waits for nobody.
//   - In a server that no gateway stands in front of, a [Guard] does all of that around its tools.
//
// # What a Feed does
//
//   - It takes only a document of the issuer and audience that it pinned at first contact, signed by a key that the
//     control plane's root key vouches for, never of an older epoch, never an older revision of the same one, and
//     never a second text under one revision.
//   - It pins the root, from FeedConfig.RootKey or at first contact. A policy signed by a key that it has not met
//     makes it fetch the signed set of keys, verify it by the pinned root, and refuse a version older than the one it
//     has. It fetches the set every hour besides.
//   - It swaps in a new index at once, and writes the document to disk (temporary file, fsync, rename) before it
//     reports it.
//   - It counts the lease from the last response that renewed it, by the monotonic clock, and over a restart by the
//     time on disk. A lease that was renewed in the future is over, and so is one of another revision. The monotonic
//     clock stands still while a machine sleeps: a laptop that wakes up goes on for what was left.
//   - A 304 renews only the policy that it names.
//   - It keeps the last known good policy when the control plane answers 401, 429 or 5xx or not at all, and asks
//     again after a while that doubles up to 30 s, with jitter, and at least as long as Retry-After says.
//   - It denies everything and wipes the copy on disk when the control plane says that the gateway was revoked.
//
// # The state directory
//
//	pins.json     issuer, audience, root key and the last signed set of keys; remove it to move to another control plane
//	policy.jose   the last known good policy, as it was signed
//	lease.json    when its lease was renewed, and for how long
//
// Whoever can write there can give the gateway an old policy with a young lease: it belongs to its user alone. A
// policy.jose that does not verify is renamed to policy.jose.refused and logged.
//
// The package links no database and no MCP. What a gateway in another language has to do is in
// docs/gateway-authors.md.
package client
