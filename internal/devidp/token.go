package devidp

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// oauthError is an answer of RFC 6749, section 5.2.
type oauthError struct {
	code        string
	description string
}

func refuse(code, description string) *oauthError {
	return &oauthError{code: code, description: description}
}

func (e *oauthError) Error() string { return e.code + ": " + e.description }

func (e *oauthError) values() url.Values {
	return url.Values{"error": {e.code}, "error_description": {e.description}}
}

type tokenResponse struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int    `json:"expires_in"`
	Scope        string `json:"scope,omitempty"`
	IDToken      string `json:"id_token,omitempty"`
	RefreshToken string `json:"refresh_token,omitempty"`
}

// token is the token endpoint.
func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxRequestBytes)
	answer, err := p.exchange(r)
	if err == nil {
		writeJSON(w, http.StatusOK, answer)
		return
	}
	p.log.InfoContext(r.Context(), "refused a token", slog.String("error", err.code), slog.String("reason", err.description))
	status := http.StatusBadRequest
	switch err.code {
	case "invalid_client":
		status = http.StatusUnauthorized
		w.Header().Set("WWW-Authenticate", `Basic realm="devidp"`)
	case "server_error":
		status = http.StatusInternalServerError
	}
	writeJSON(w, status, map[string]string{"error": err.code, "error_description": err.description})
}

func (p *Provider) exchange(r *http.Request) (*tokenResponse, *oauthError) {
	if err := r.ParseForm(); err != nil {
		return nil, refuse("invalid_request", "the form cannot be read")
	}
	form := r.PostForm
	if name, found := repeated(form); found {
		return nil, refuse("invalid_request", "the parameter "+name+" is given twice")
	}
	if form.Get("grant_type") == jwtBearer {
		return p.exchangeAssertion(form)
	}
	client, err := p.authenticate(r)
	if err != nil {
		return nil, err
	}
	switch form.Get("grant_type") {
	case "authorization_code":
		return p.exchangeCode(client, form)
	case "refresh_token":
		return p.exchangeRefresh(client, form)
	case "client_credentials":
		return p.exchangeCredentials(client, form)
	default:
		return nil, refuse("unsupported_grant_type", "the grant type is not supported")
	}
}

// authenticate finds the client by HTTP Basic or by the form, never by both.
func (p *Provider) authenticate(r *http.Request) (Client, *oauthError) {
	id, secret := r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	if user, password, basic := r.BasicAuth(); basic {
		if secret != "" {
			return Client{}, refuse("invalid_request", "the client authenticates twice")
		}
		var errUser, errPassword error
		user, errUser = url.QueryUnescape(user)
		password, errPassword = url.QueryUnescape(password)
		if errUser != nil || errPassword != nil || id != "" && id != user {
			return Client{}, refuse("invalid_client", "the client's credentials cannot be read")
		}
		id, secret = user, password
	}
	client, known := p.client(id)
	if !known || !equal(secret, client.Secret) {
		return Client{}, refuse("invalid_client", "the client is not known, or its secret is wrong")
	}
	return client, nil
}

func (p *Provider) exchangeCode(client Client, form url.Values) (*tokenResponse, *oauthError) {
	c, first, known := p.codes.spend(form.Get("code"))
	if !known || c.grant.client.ID != client.ID {
		return nil, refuse("invalid_grant", "the code is not known")
	}
	if !first {
		p.revoke(c.grant)
		return nil, refuse("invalid_grant", "the code was used before; what it gave is revoked")
	}
	sum := sha256.Sum256([]byte(form.Get("code_verifier")))
	switch {
	case p.now().Sub(c.issued) > codeLifetime:
		return nil, refuse("invalid_grant", "the code has expired")
	case !equal(form.Get("redirect_uri"), c.redirectURI):
		return nil, refuse("invalid_grant", "the redirect URI is not that of the code")
	case !equal(base64.RawURLEncoding.EncodeToString(sum[:]), c.challenge):
		return nil, refuse("invalid_grant", "the PKCE verifier is wrong")
	}
	g, err := c.grant.narrowed(form)
	if err != nil {
		return nil, err
	}
	return p.answer(g, c.nonce)
}

func (p *Provider) exchangeRefresh(client Client, form url.Values) (*tokenResponse, *oauthError) {
	g, first, known := p.refreshes.spend(form.Get("refresh_token"))
	if !known || g.client.ID != client.ID || p.revoked.has(g.id) || p.ended.has(g.session.id) {
		return nil, refuse("invalid_grant", "the refresh token is not known or no longer good")
	}
	if !first {
		p.revoke(g)
		return nil, refuse("invalid_grant", "the refresh token was used before; what it belongs to is revoked")
	}
	person, known := p.person(g.person.Subject)
	if !known {
		return nil, refuse("invalid_grant", "the person is not known any more")
	}
	g, err := g.narrowed(form)
	if err != nil {
		return nil, err
	}
	g.person = person
	return p.answer(g, "")
}

func (p *Provider) exchangeCredentials(client Client, form url.Values) (*tokenResponse, *oauthError) {
	if client.Secret == "" {
		return nil, refuse("unauthorized_client", "a client without a secret cannot speak for itself")
	}
	resource, err := checkResource(form["resource"])
	if err != nil {
		return nil, err
	}
	return p.bearer(&grant{id: rand.Text(), client: client, resource: resource, model: client.Model})
}

// narrowed is the grant for the resource named in the token request, which may choose one
// only if the sign-in left it open.
func (g *grant) narrowed(form url.Values) (*grant, *oauthError) {
	resource, err := checkResource(form["resource"])
	if err != nil {
		return nil, err
	}
	if resource != "" && g.resource != "" && resource != g.resource {
		return nil, refuse("invalid_target", "the person signed in for another resource")
	}
	narrow := *g
	if resource != "" {
		narrow.resource = resource
	}
	return &narrow, nil
}

// answer is all that a sign-in gives: an access token, a new refresh token, and for OpenID
// Connect an ID token.
func (p *Provider) answer(g *grant, nonce string) (*tokenResponse, *oauthError) {
	response, refused := p.bearer(g)
	if refused != nil {
		return nil, refused
	}
	if slices.Contains(g.scope, "openid") {
		token, err := p.idToken(g, nonce, response.AccessToken)
		if err != nil {
			return nil, refuse("server_error", "the ID token could not be signed")
		}
		response.IDToken = token
	}
	refresh := rand.Text()
	if !p.refreshes.add(refresh, g, refreshLifetime) {
		return nil, refuse("server_error", "there are too many refresh tokens")
	}
	response.RefreshToken = refresh
	return response, nil
}

func (p *Provider) bearer(g *grant) (*tokenResponse, *oauthError) {
	token, err := p.accessToken(g)
	if err != nil {
		return nil, refuse("server_error", "the access token could not be signed")
	}
	return &tokenResponse{
		AccessToken: token, TokenType: "Bearer", ExpiresIn: int(tokenLifetime.Seconds()), Scope: strings.Join(g.scope, " "),
	}, nil
}

func (p *Provider) revoke(g *grant) {
	p.revoked.add(g.id, struct{}{}, refreshLifetime)
	p.log.Warn("revoked a grant whose code or refresh token was used twice",
		slog.String("client", g.client.ID), slog.String("person", g.person.Subject))
}

// equal compares secrets in constant time.
func equal(a, b string) bool {
	return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}
