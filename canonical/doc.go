// Package canonical reads JSON the way a security decision needs it, and writes
// it in one form only.
//
// Two programs that read the same bytes must not see two different calls. So
// everything Countersign decides on passes one strict scan first:
//
//	bytes ──Check──▶ bytes that every parser reads the same way
//	                   │
//	                   ├─Members, Elements─▶ parts, as they were received
//	                   ├─Exact─────────────▶ canonical definition ──Sum──▶ Digest
//	                   └─Arguments─────────▶ canonical arguments  ──Sum──▶ Digest
//
// Check refuses what parsers are known to disagree on: a key given twice, keys
// that differ only in case, NUL in a key, half a surrogate pair, a byte order
// mark, bytes that are not UTF-8, a second value after the first. It is a single
// pass with an explicit stack, so that no input can exhaust the goroutine's, and
// it builds no tree.
//
// Exact is for definitions of tools: it orders keys and escapes strings as
// RFC 8785 does, but keeps each number exactly as it was written, because
// 9007199254740993 and 9007199254740992 are two different schemas.
//
// Arguments is for calls: it is RFC 8785 itself, over those numbers only which a
// float64 keeps. It refuses the others, rather than let two calls that differ
// share a digest.
//
// The files in testdata are published test vectors for implementations in other
// languages.
package canonical
