package devidp

import (
	"crypto/rand"
	"net/http"
	"strings"
	"time"
)

// The session cookie is not __Host-: loopback has no TLS. Cookies do not tell ports apart,
// so its name must differ from the console's.
const sessionCookie = "devidp_session"

// session says who signed in at this browser, when and how.
type session struct {
	id       string
	subject  string
	authTime time.Time
	amr      []string
	acr      string
}

// How a demo person proves who they are: a click stands for a password, and a ticked box for
// a second factor.
func methods(secondFactor bool) (amr []string, acr string) {
	if secondFactor {
		return []string{"pwd", "otp", "mfa"}, ClassMFA
	}
	return []string{"pwd"}, ClassPassword
}

// The authentication context classes of the provider: values of the claim acr, and of acr_values.
const (
	ClassPassword = "urn:countersign:dev:pwd"
	ClassMFA      = "urn:countersign:dev:mfa"
)

func (p *Provider) startSession(w http.ResponseWriter, person Person, secondFactor bool) (session, error) {
	now := p.now()
	amr, acr := methods(secondFactor)
	s := session{id: rand.Text(), subject: person.Subject, authTime: now, amr: amr, acr: acr}
	token, err := p.sign(typeSession, claims{
		Issuer: p.issuer, Audience: p.issuer, Subject: s.subject, SessionID: s.id,
		AuthTime: now.Unix(), AMR: amr, ACR: acr, IssuedAt: now.Unix(), Expires: now.Add(sessionLifetime).Unix(),
	})
	if err != nil {
		return session{}, err
	}
	p.setCookie(w, token, int(sessionLifetime.Seconds()))
	return s, nil
}

// currentSession returns the session of the browser, if it has one that still holds.
func (p *Provider) currentSession(r *http.Request) (session, bool) {
	cookie, err := r.Cookie(sessionCookie)
	if err != nil {
		return session{}, false
	}
	c, err := p.readFresh(typeSession, cookie.Value)
	if err != nil || p.ended.has(c.SessionID) {
		return session{}, false
	}
	return session{id: c.SessionID, subject: c.Subject, authTime: time.Unix(c.AuthTime, 0), amr: c.AMR, acr: c.ACR}, true
}

func (p *Provider) endSession(w http.ResponseWriter, s session) {
	p.ended.add(s.id, struct{}{}, sessionLifetime)
	p.setCookie(w, "", -1)
}

func (p *Provider) setCookie(w http.ResponseWriter, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure where there is TLS, which loopback does without
		Name: sessionCookie, Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: strings.HasPrefix(p.issuer, "https://"),
	})
}
