package devidp

import (
	"crypto/rand"
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// authorizeRequest is a request whose client and redirect URI are proven, so that the answer
// may be sent there, errors too.
type authorizeRequest struct {
	client      Client
	redirectURI string
	state       string

	scope     []string
	resource  string
	nonce     string
	challenge string
	prompt    []string
	maxAge    time.Duration
	hasMaxAge bool
	acrValues []string
}

// authorize answers a browser that a client sent here: with a code when its session is good
// enough for what the client asks, else with the list of people.
func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	req, ok := p.readAuthorize(w, r)
	if !ok {
		return
	}
	s, signedIn := p.currentSession(r)
	person, known := p.person(s.subject)
	switch {
	case signedIn && known && p.goodEnough(s, req):
		p.sendCode(w, r, req, person, s)
	case slices.Contains(req.prompt, "none"):
		p.sendBack(w, r, req, url.Values{"error": {"login_required"}})
	default:
		p.showPeople(w, r, req)
	}
}

// login is the choice made on the list of people. Its query is that of authorize, checked
// again: the form carries nothing that could be forged to better effect.
func (p *Provider) login(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxRequestBytes)
	req, ok := p.readAuthorize(w, r)
	if !ok {
		return
	}
	person, known := p.person(r.PostFormValue("sub"))
	if !known {
		p.showProblem(w, r, http.StatusBadRequest, "There is no such person here.")
		return
	}
	s, err := p.startSession(w, person, r.PostFormValue("mfa") != "")
	if err != nil {
		p.showFault(w, r, err)
		return
	}
	p.sendCode(w, r, req, person, s)
}

func (p *Provider) goodEnough(s session, req authorizeRequest) bool {
	if slices.Contains(req.prompt, "login") || slices.Contains(req.prompt, "select_account") {
		return false
	}
	if len(req.acrValues) > 0 && !slices.Contains(req.acrValues, s.acr) {
		return false
	}
	return !req.hasMaxAge || p.now().Sub(s.authTime) <= req.maxAge
}

func (p *Provider) sendCode(w http.ResponseWriter, r *http.Request, req authorizeRequest, person Person, s session) {
	value := rand.Text()
	added := p.codes.add(value, &code{
		grant: &grant{
			id: rand.Text(), client: req.client, person: person, session: s,
			scope: req.scope, resource: req.resource, model: req.client.Model,
		},
		redirectURI: req.redirectURI, challenge: req.challenge, nonce: req.nonce, issued: p.now(),
	}, refreshLifetime)
	if !added {
		p.sendBack(w, r, req, url.Values{"error": {"temporarily_unavailable"}})
		return
	}
	p.sendBack(w, r, req, url.Values{"code": {value}})
}

// sendBack redirects to the client with the issuer beside the answer (RFC 9207).
func (p *Provider) sendBack(w http.ResponseWriter, r *http.Request, req authorizeRequest, answer url.Values) {
	answer.Set("iss", p.issuer)
	if req.state != "" {
		answer.Set("state", req.state)
	}
	http.Redirect(w, r, withQuery(req.redirectURI, answer), http.StatusSeeOther) //nolint:gosec // a registered address, on loopback
}

// readAuthorize checks the query. Until the client and its redirect URI are proven, an error
// is shown here; afterwards it is the client's to see.
func (p *Provider) readAuthorize(w http.ResponseWriter, r *http.Request) (authorizeRequest, bool) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		p.showProblem(w, r, http.StatusBadRequest, "The request's query cannot be read.")
		return authorizeRequest{}, false
	}
	if name, found := repeated(query); found {
		p.showProblem(w, r, http.StatusBadRequest, "The request has the parameter "+strconv.Quote(name)+" twice.")
		return authorizeRequest{}, false
	}
	client, known := p.client(query.Get("client_id"))
	if !known {
		p.showProblem(w, r, http.StatusBadRequest, "The application that sent you here is not known.")
		return authorizeRequest{}, false
	}
	redirectURI := query.Get("redirect_uri")
	if !slices.Contains(client.RedirectURIs, redirectURI) {
		p.log.WarnContext(r.Context(), "refused a redirect URI",
			slog.String("client", client.ID), slog.String("redirect_uri", redirectURI))
		p.showProblem(w, r, http.StatusBadRequest, client.name()+" asked to be answered at an address that is not registered for it.")
		return authorizeRequest{}, false
	}
	req := authorizeRequest{client: client, redirectURI: redirectURI, state: query.Get("state")}
	if err := req.fill(query); err != nil {
		p.sendBack(w, r, req, err.values())
		return authorizeRequest{}, false
	}
	return req, true
}

func (req *authorizeRequest) fill(query url.Values) *oauthError {
	req.nonce = query.Get("nonce")
	req.scope = strings.Fields(query.Get("scope"))
	req.prompt = strings.Fields(query.Get("prompt"))
	req.acrValues = strings.Fields(query.Get("acr_values"))
	req.challenge = query.Get("code_challenge")
	switch {
	case query.Has("request"):
		return refuse("request_not_supported", "request objects are not supported")
	case query.Has("request_uri"):
		return refuse("request_uri_not_supported", "request objects are not supported")
	case query.Get("response_type") != "code":
		return refuse("unsupported_response_type", "only the code flow is supported")
	case query.Has("response_mode") && query.Get("response_mode") != "query":
		return refuse("invalid_request", "only the response mode query is supported")
	case query.Get("code_challenge_method") != "S256" || !isS256(req.challenge):
		return refuse("invalid_request", "PKCE with S256 is required")
	case slices.Contains(req.prompt, "none") && len(req.prompt) > 1:
		return refuse("invalid_request", "prompt none stands alone")
	}
	if query.Has("max_age") {
		seconds, err := strconv.ParseUint(query.Get("max_age"), 10, 31)
		if err != nil {
			return refuse("invalid_request", "max_age is not a number of seconds")
		}
		req.maxAge, req.hasMaxAge = time.Duration(seconds)*time.Second, true
	}
	resource, err := checkResource(query["resource"])
	req.resource = resource
	return err
}

// isS256 reports whether a code challenge has the form of a SHA-256.
func isS256(challenge string) bool {
	sum, err := base64.RawURLEncoding.Strict().DecodeString(challenge)
	return err == nil && len(sum) == 32
}

// withQuery adds parameters to a registered URI, which may have a query of its own.
func withQuery(uri string, extra url.Values) string {
	separator := "?"
	if strings.Contains(uri, "?") {
		separator = "&"
	}
	return uri + separator + extra.Encode()
}
