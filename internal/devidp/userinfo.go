package devidp

import (
	"net/http"
	"slices"
	"strings"
)

// userInfo says who an access token's person is. It wants a token of a sign-in with the
// scope openid, and refuses one whose grant is revoked or whose session ended.
func (p *Provider) userInfo(w http.ResponseWriter, r *http.Request) {
	raw, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !bearer {
		refuseBearer(w, "invalid_request", "send an access token in the Authorization header")
		return
	}
	c, err := p.readFresh(typeAccess, raw)
	if err != nil || p.revoked.has(c.GrantID) || p.ended.has(c.SessionID) {
		refuseBearer(w, "invalid_token", "the access token is not good, or no longer")
		return
	}
	if !slices.Contains(strings.Fields(c.Scope), "openid") {
		refuseBearer(w, "insufficient_scope", "the access token lacks the scope openid")
		return
	}
	person, known := p.person(c.Subject)
	if !known {
		refuseBearer(w, "invalid_token", "the person is not known any more")
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"sub": person.Subject, "name": person.Name, "groups": person.Groups,
		"email": person.Email, "email_verified": true,
	})
}

func refuseBearer(w http.ResponseWriter, code, description string) {
	w.Header().Set("WWW-Authenticate", `Bearer error="`+code+`", error_description="`+description+`"`)
	status := http.StatusUnauthorized
	if code == "insufficient_scope" {
		status = http.StatusForbidden
	}
	writeJSON(w, status, map[string]string{"error": code, "error_description": description})
}
