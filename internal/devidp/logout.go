package devidp

import (
	"net/http"
	"net/url"
	"slices"
)

// logout is RP-initiated logout. A client that shows by an ID token that it signed this very
// session in ends it at once; otherwise the person is asked, or a link could sign them out.
func (p *Provider) logout(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	after, hint, ok := p.readLogout(query)
	if !ok {
		p.showProblem(w, r, http.StatusBadRequest, "The request to sign out is not a valid one.")
		return
	}
	s, signedIn := p.currentSession(r)
	if signedIn && hint.SessionID != s.id {
		p.show(w, r, http.StatusOK, "logout", pageData{Query: encodedQuery(r), Person: s.subject})
		return
	}
	if signedIn {
		p.endSession(w, s)
	}
	p.leave(w, r, after)
}

// confirmLogout is the person's own answer to logout's question.
func (p *Provider) confirmLogout(w http.ResponseWriter, r *http.Request) {
	after, _, ok := p.readLogout(r.URL.Query())
	if !ok {
		p.showProblem(w, r, http.StatusBadRequest, "The request to sign out is not a valid one.")
		return
	}
	if s, signedIn := p.currentSession(r); signedIn {
		p.endSession(w, s)
	}
	p.leave(w, r, after)
}

// readLogout returns where to go afterwards, "" for nowhere, and the claims of the hint. The
// hint may have expired, but it must be ours; an address needs a client that registered it.
func (p *Provider) readLogout(query url.Values) (after string, hint claims, ok bool) {
	if _, found := repeated(query); found {
		return "", claims{}, false
	}
	clientID := query.Get("client_id")
	if raw := query.Get("id_token_hint"); raw != "" {
		var err error
		if hint, err = p.read(typeID, raw); err != nil || clientID != "" && clientID != hint.Audience {
			return "", claims{}, false
		}
		clientID = hint.Audience
	}
	after = query.Get("post_logout_redirect_uri")
	if after == "" {
		return "", hint, true
	}
	client, known := p.client(clientID)
	if !known || !slices.Contains(client.PostLogoutRedirectURIs, after) {
		return "", claims{}, false
	}
	if state := query.Get("state"); state != "" {
		after = withQuery(after, url.Values{"state": {state}})
	}
	return after, hint, true
}

func (p *Provider) leave(w http.ResponseWriter, r *http.Request, after string) {
	if after == "" {
		p.show(w, r, http.StatusOK, "goodbye", pageData{})
		return
	}
	http.Redirect(w, r, after, http.StatusSeeOther) //nolint:gosec // a registered address, on loopback
}
