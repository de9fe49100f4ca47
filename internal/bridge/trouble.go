package bridge

import (
	"log/slog"
	"net/http"
	"regexp"
)

// What people have to know is said once: until it is over, or something else is wrong. A client asks again and again, and
// shows its user the log of a server that does not come up.

// first reports whether this was not wrong before. "" is: nothing is.
func (b *Bridge) first(wrong string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	was := b.wrong
	b.wrong = wrong
	return was != wrong
}

// fine notes that the gateway answered.
func (b *Bridge) fine() {
	if b.first("") {
		b.Log.Info("the gateway answers now")
	}
}

func (b *Bridge) noCredential(err error) {
	if b.first("credential " + err.Error()) {
		b.Log.Error("there is no credential for the gateway", slog.Any("error", err),
			slog.String("next", "mend what --secret names, or --issuer and --client-id; it is read anew at the next request"))
	}
}

func (b *Bridge) notReached(sent bool, err error) {
	if b.first("reach " + err.Error()) {
		b.Log.Warn("the gateway was not reached", slog.Bool("sent", sent), slog.Any("error", err),
			slog.String("next", "look whether --gateway is its address and whether it runs; what was not sent is tried again for a while"))
	}
}

// noGateway is about an answer that no gateway gives.
func (b *Bridge) noGateway(status int) {
	if b.first("status " + http.StatusText(status)) {
		b.Log.Error("what answers is no gateway, or something before it", slog.Int("status", status), slog.String("address", b.Endpoint),
			slog.String("next", "look whether --gateway is the address of the gateway alone, as clients reach it"))
	}
}

var (
	challengeError = regexp.MustCompile(`\berror="([^"]{1,100})"`)
	challengeText  = regexp.MustCompile(`\berror_description="([^"]{1,500})"`)
)

// notSignedIn is about a credential that was refused, also after it was read anew.
func (b *Bridge) notSignedIn(challenge string) {
	if !b.first("refused " + challenge) {
		return
	}
	said := ""
	if m := challengeText.FindStringSubmatch(challenge); m != nil {
		said = m[1]
	}
	next := "look whether --secret names the credential for this gateway, and whether it was ended; an admin makes keys under Access → Agents"
	if m := challengeError.FindStringSubmatch(challenge); m != nil && m[1] == "insufficient_user_authentication" {
		next = "sign in again as it says, and put the new token where --secret names it: it is read anew at the next request"
	}
	b.Log.Error("the gateway refused the credential", slog.String("said", said), slog.String("next", next))
}
