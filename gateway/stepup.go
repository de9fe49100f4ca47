package gateway

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"countersign/client"
	"countersign/policy"
)

// insufficientAuthentication is the error of RFC 9470: the token is good, and how its user signed in is not enough.
const insufficientAuthentication = "insufficient_user_authentication"

// demand is what has to be true of a sign-in for a call to run, in the words of a challenge.
type demand struct {
	maxAge int      // seconds; 0: any
	acr    []string // one of them; none: any
	factor bool     // a second one
	never  bool     // what guardrails ask for contradicts itself: no sign-in is enough
}

// demandOf reads the demand of a verdict that wants another sign-in. For a second factor it knows the context classes
// that the configuration names for the caller's provider, unless guardrails name some themselves.
func (x *exchange) demandOf(v policy.Verdict) demand {
	if v.StepUp == nil {
		return demand{factor: true, acr: x.g.secondFactorACR(x.caller.principal.Issuer)}
	}
	d := demand{maxAge: v.StepUp.MaxAgeSeconds, acr: v.StepUp.ACR, factor: v.StepUp.MFA, never: v.StepUp.ACR != nil && len(v.StepUp.ACR) == 0}
	if d.factor && v.StepUp.ACR == nil {
		d.acr = x.g.secondFactorACR(x.caller.principal.Issuer)
	}
	d.acr = slices.DeleteFunc(slices.Clone(d.acr), func(class string) bool { return strings.ContainsFunc(class, unquotable) })
	return d
}

func (g *Gateway) secondFactorACR(issuer string) []string {
	for _, i := range g.config().Issuers {
		if i.Issuer == issuer {
			return i.SecondFactorACR
		}
	}
	return nil
}

// unquotable reports whether a character cannot be in a value of a challenge that is a list with spaces between.
func unquotable(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }

// header is the challenge: what the client has to ask the provider for, and where that is.
func (d demand) header(metadata string) string {
	h := fmt.Sprintf("Bearer error=%q, error_description=%q", insufficientAuthentication, d.description())
	if len(d.acr) > 0 {
		h += fmt.Sprintf(", acr_values=%q", strings.Join(d.acr, " "))
	}
	if d.maxAge > 0 {
		h += fmt.Sprintf(`, max_age="%d"`, d.maxAge)
	}
	return h + fmt.Sprintf(", resource_metadata=%q", metadata)
}

func (d demand) description() string {
	switch {
	case d.factor:
		return "A second factor is required"
	case d.maxAge > 0 && len(d.acr) > 0:
		return "A more recent authentication of a particular kind is required"
	case d.maxAge > 0:
		return "A more recent authentication is required"
	}
	return "An authentication of a particular kind is required"
}

// text is for the model, and for the person behind it.
func (d demand) text(v policy.Verdict, kind policy.Kind) string {
	switch {
	case d.never:
		return fmt.Sprintf("DENIED by policy (not executed): the guardrails of this %s ask for sign-ins that exclude each other. Do not retry; tell an admin.", kind)
	case v.StepUp == nil:
		return fmt.Sprintf("SECOND FACTOR REQUIRED (not executed): this %s is only for people who signed in with a second factor. Ask your user to sign in again with one; then call again with the new token.", kind)
	}
	return fmt.Sprintf("SIGN-IN REQUIRED (not executed): this %s is only for people who %s. Ask your user to sign in again so; then call again with the new token.", kind, v.StepUp.Words())
}

// askSignIn answers a call that only the sign-in of its user is in the way of: by a challenge, which makes the client get
// another token, or by a denial that the model reads, where a challenge would not help.
func (x *exchange) askSignIn(v policy.Verdict) error {
	if x.caller.apiKey != nil {
		return x.deny(v.Reason, fmt.Sprintf("DENIED by policy (not executed): this %s is only for people who signed in in a particular way, and a key of an agent signs nobody in. Do not retry; use a token of your user if you can get one.", x.log.use.kind))
	}
	d := x.demandOf(v)
	text := d.text(v, x.log.use.kind)
	said := decision{Decision: client.DeniedCall, Reason: v.Reason, MaxAgeSeconds: d.maxAge, ACRValues: d.acr}
	if d.never || !x.message.request() {
		return x.denyWith(text, said)
	}
	header := d.header(x.g.metadataURL())
	if x.g.challenged.inVain(x.caller, header, x.g.now()) {
		return x.denyWith(text+" The user's last sign-in was not enough: their identity provider may not do what is asked for.", said)
	}
	x.record(client.DeniedCall, v.Reason)
	x.w.Header().Set("WWW-Authenticate", header)
	return &rpcError{status: http.StatusUnauthorized, code: codeDenied, message: text, data: map[string]any{metaDecision: said}}
}

// challenges are those of this instance of late. A client that obeys one and comes back with a token that is no better
// would otherwise be sent around for ever, and its user with it.
type challenges struct {
	mu   sync.Mutex
	sent map[[sha256.Size]byte]time.Time // by caller and challenge, since when
}

// Bounds of what is remembered of challenges.
const (
	maxChallenges  = 10_000
	challengedKept = 10 * time.Minute
)

// inVain reports whether the caller got its token in answer to this very challenge. If not, it counts as challenged now,
// or still, if it was.
func (c *challenges) inVain(who *caller, header string, now time.Time) bool {
	key := sha256.Sum256([]byte(who.key() + "\x00" + header))
	c.mu.Lock()
	defer c.mu.Unlock()
	since, known := c.sent[key]
	if known && now.Sub(since) < challengedKept {
		return !who.issued.Before(since.Truncate(time.Second).Add(time.Second))
	}
	if len(c.sent) >= maxChallenges {
		for k, at := range c.sent {
			if now.Sub(at) >= challengedKept {
				delete(c.sent, k)
			}
		}
	}
	if c.sent == nil || len(c.sent) >= maxChallenges {
		c.sent = map[[sha256.Size]byte]time.Time{}
	}
	c.sent[key] = now
	return false
}
