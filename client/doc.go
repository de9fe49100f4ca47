// Package client is what a gateway needs of the control plane: the policy, and the right to execute.
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
// In every state but current, [Feed.Current] returns an error and the gateway denies. A Feed
//
//   - takes only a document signed by a key that it pinned at first contact, of the issuer and audience it
//     pinned then, and never an older revision of the same epoch;
//   - swaps in a new index at once, and writes it to disk (temporary file, fsync, rename) before it reports it;
//   - counts the lease from the last response that renewed it, by the monotonic clock, and over a restart by
//     the time on disk;
//   - keeps the last known good policy when the control plane answers 401, 429 or 5xx or not at all.
//
// The package links no database and no MCP: a gateway in another language needs nothing else than what is
// written here and in package policy.
package client
