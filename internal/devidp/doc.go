// Package devidp is an OpenID Connect provider for development and tests. It lets
// `countersign up` sign people in with nothing else installed, and it lets tests drive the
// real protocol over a real socket.
//
// It has no passwords: whoever reaches its login page may be any of its demo people. So it
// works on loopback only, and this is checked in four places. [New] refuses an issuer or a
// redirect URI which is not on loopback, [Listen] refuses any other address, and the handler
// refuses both a peer and a Host header from elsewhere (the latter stops DNS rebinding).
//
//	browser ── GET /authorize ──▶ session cookie good enough? ──yes──▶ code ──▶ redirect URI
//	                                   │ no                              ▲
//	                                   ▼                                 │
//	                              list of people ── POST /authorize ─────┘
//
//	client ─── POST /token ─────▶ authorization_code │ refresh_token │ client_credentials
//	                              urn:ietf:params:oauth:grant-type:jwt-bearer
//
// Everything that one sign-in allows hangs on one grant. A code or a refresh token that is
// presented twice has leaked, and revokes the grant: its refresh tokens stop working, and
// its access tokens are refused at UserInfo.
//
// The signing key lives in a file, and both the browser session and the access tokens are
// JWTs under it, so they survive a restart. Codes, refresh tokens and the marks of spent
// ones are in memory only: after a restart a client signs in again, which the session
// cookie makes silent.
package devidp
