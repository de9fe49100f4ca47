// Package auth says who is at the other end: people by OpenID Connect and a session, machines by
// client credentials and a short token, and the caller of a tool by the token that its gateway hands
// on as evidence. It owns the tables people, sessions, signins, api_clients, keyring and key_set.
//
// # People
//
//	BeginSignIn ──▶ row in signins, cookie ──▶ identity provider ──▶ FinishSignIn
//	                (state, nonce, PKCE verifier; 10 minutes; deleted at use)  │
//	                                                                           ▼
//	                       session: live ──▶ ended (sign-out, replaced, ended by an admin)
//	                                  └────▶ over (idle, absolute lifetime, person disabled)
//
// A code is taken only by the browser that began the flow, since the row is found by its cookie. Each
// sign-in makes a new session under a new secret and ends the one that the browser held, so an id that
// was planted before a sign-in is worth nothing after it. Only hashes of the secrets are stored, and
// the database's clock decides what is over. Who a person is comes from the issuer and one stable
// claim, never from an e-mail address; roles come from groups and are computed for each request.
//
// A step-up is a sign-in that has to prove more: that somebody authenticated just now (max_age, prompt=login) or in one of
// some context classes (acr_values). Providers may ignore both, so what they answer is held against what was asked:
// auth_time has to be there and recent enough, give or take clockLeeway between the two clocks, and acr has to be one of
// those asked for. It is by the person of the session that it was begun from. Only when all of that holds does the old
// session end, and a new one begin under a new secret.
//
// # Machines
//
// A secret is shown once and stored as SHA-256. It buys an Ed25519 JWT of ten minutes, which Bearer
// verifies without a query. Revocation does not wait for those ten minutes: each replica holds the set
// of clients in memory, reads it again when woken and every five seconds, and refuses all tokens when
// it could not read it for fifteen.
//
// # Keys
//
// Policies, access tokens and checkpoints are signed by keys of their own. They are made once for all
// replicas and stored sealed, see package seal. The public half of a policy key alone is what gateways
// trust.
package auth
