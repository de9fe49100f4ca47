package devidp

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// How long things live.
const (
	codeLifetime      = time.Minute
	tokenLifetime     = 10 * time.Minute // access and ID tokens
	refreshLifetime   = 12 * time.Hour
	sessionLifetime   = 12 * time.Hour
	assertionLifetime = 5 * time.Minute
	clockLeeway       = time.Minute
)

const maxRequestBytes = 64 << 10

// Provider is an OpenID Connect provider. It is safe for concurrent use.
type Provider struct {
	issuer  string
	people  []Person
	clients []Client
	key     jose.JSONWebKey
	now     func() time.Time
	log     *slog.Logger

	groupsOnlyInUserInfo bool

	codes      *memory[*code]
	refreshes  *memory[*grant]
	assertions *memory[struct{}] // their jti, so that each is used once
	revoked    *memory[struct{}] // grants whose code or refresh token was used twice
	ended      *memory[struct{}] // browser sessions that signed out
}

// grant is what one sign-in, or one assertion, allows a client.
type grant struct {
	id       string
	client   Client
	person   Person
	session  session
	scope    []string
	resource string // the audience of its access tokens; "" is the provider itself
	model    string
}

// code is a grant waiting to be fetched with the PKCE verifier.
type code struct {
	grant       *grant
	redirectURI string
	challenge   string
	nonce       string
	issued      time.Time // it is remembered longer than it is good, to notice a replay
}

// New returns a provider. It refuses a configuration that reaches beyond loopback with an
// error that is [ErrNotLoopback].
func New(cfg Config) (*Provider, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("configuring the development identity provider: %w", err)
	}
	key, err := cfg.signingKey()
	if err != nil {
		return nil, fmt.Errorf("configuring the development identity provider: %w", err)
	}
	jwk, err := newJWK(key)
	if err != nil {
		return nil, fmt.Errorf("configuring the development identity provider: %w", err)
	}
	now := cfg.Now
	if now == nil {
		now = time.Now
	}
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Provider{
		issuer: cfg.Issuer, people: slices.Clone(cfg.People), clients: slices.Clone(cfg.Clients),
		key: jwk, now: now, log: log, groupsOnlyInUserInfo: cfg.GroupsOnlyInUserInfo,
		codes:      newMemory[*code](now),
		refreshes:  newMemory[*grant](now),
		assertions: newMemory[struct{}](now),
		revoked:    newMemory[struct{}](now),
		ended:      newMemory[struct{}](now),
	}, nil
}

func (c Config) signingKey() (ed25519.PrivateKey, error) {
	if c.Key != nil {
		return c.Key, nil
	}
	if c.KeyFile != "" {
		return LoadOrCreateKey(c.KeyFile)
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return key, err
}

func newJWK(key ed25519.PrivateKey) (jose.JSONWebKey, error) {
	if len(key) != ed25519.PrivateKeySize {
		return jose.JSONWebKey{}, fmt.Errorf("the signing key has %d bytes, want %d", len(key), ed25519.PrivateKeySize)
	}
	sum := sha256.Sum256(key.Public().(ed25519.PublicKey))
	return jose.JSONWebKey{
		Key: key, KeyID: base64.RawURLEncoding.EncodeToString(sum[:12]),
		Algorithm: string(jose.EdDSA), Use: "sig",
	}, nil
}

// Handler returns the provider's HTTP interface, to be served at the root of the issuer.
func (p *Provider) Handler() http.Handler {
	sameOrigin := http.NewCrossOriginProtection()
	page := func(h http.HandlerFunc) http.Handler { return secured(sameOrigin.Handler(h)) }

	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.discovery)
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", p.discovery)
	mux.HandleFunc("GET /jwks", p.jwks)
	mux.HandleFunc("POST /token", p.token)
	mux.HandleFunc("GET /userinfo", p.userInfo)
	mux.HandleFunc("POST /userinfo", p.userInfo)
	mux.Handle("GET /authorize", page(p.authorize))
	mux.Handle("POST /authorize", page(p.login))
	mux.Handle("GET /logout", page(p.logout))
	mux.Handle("POST /logout", page(p.confirmLogout))
	mux.Handle("GET /{$}", page(p.home))
	mux.Handle("GET /devidp.css", page(p.stylesheet))
	return p.loopbackOnly(mux)
}

func (p *Provider) discovery(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer":                 p.issuer,
		"authorization_endpoint": p.issuer + "/authorize",
		"token_endpoint":         p.issuer + "/token",
		"userinfo_endpoint":      p.issuer + "/userinfo",
		"jwks_uri":               p.issuer + "/jwks",
		"end_session_endpoint":   p.issuer + "/logout",
		"authorization_response_iss_parameter_supported":   true,
		"response_types_supported":                         []string{"code"},
		"response_modes_supported":                         []string{"query"},
		"grant_types_supported":                            []string{"authorization_code", "refresh_token", "client_credentials", jwtBearer},
		"code_challenge_methods_supported":                 []string{"S256"},
		"token_endpoint_auth_methods_supported":            []string{"client_secret_basic", "client_secret_post", "none"},
		"token_endpoint_auth_signing_alg_values_supported": []string{string(jose.EdDSA)},
		"id_token_signing_alg_values_supported":            []string{string(jose.EdDSA)},
		"subject_types_supported":                          []string{"public"},
		"scopes_supported":                                 []string{"openid", "profile", "email", "groups", "offline_access"},
		"prompt_values_supported":                          []string{"none", "login", "select_account"},
		"acr_values_supported":                             []string{ClassPassword, ClassMFA},
		"request_uri_parameter_supported":                  false,
		"claims_supported": []string{
			"sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "amr", "acr", "sid", "name", "email", "email_verified", "groups",
		},
	})
}

func (p *Provider) jwks(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{p.key.Public()}})
}

func (p *Provider) client(id string) (Client, bool) {
	i := slices.IndexFunc(p.clients, func(c Client) bool { return c.ID == id })
	if i < 0 {
		return Client{}, false
	}
	return p.clients[i], true
}

func (p *Provider) person(subject string) (Person, bool) {
	i := slices.IndexFunc(p.people, func(q Person) bool { return q.Subject == subject })
	if i < 0 {
		return Person{}, false
	}
	return p.people[i], true
}

// checkResource accepts one absolute loopback URL, or nothing.
func checkResource(values []string) (string, *oauthError) {
	if len(values) == 0 {
		return "", nil
	}
	if len(values) > 1 {
		return "", refuse("invalid_target", "ask for one resource at a time")
	}
	if _, err := loopbackURL(values[0]); err != nil {
		return "", refuse("invalid_target", "resource "+err.Error())
	}
	return values[0], nil
}

// repeated returns a parameter in params, other than resource, that is given more than once.
func repeated(params url.Values) (string, bool) {
	for name, values := range params {
		if len(values) > 1 && name != "resource" {
			return name, true
		}
	}
	return "", false
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the peer went away; nobody is left to tell
}
