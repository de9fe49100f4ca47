package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
)

// wellKnown is where RFC 9728 puts the metadata of a resource, before the path of the resource.
const wellKnown = "/.well-known/oauth-protected-resource"

// protectedResource is RFC 9728 metadata.
type protectedResource struct {
	Resource             string   `json:"resource"`
	Name                 string   `json:"resource_name"`
	AuthorizationServers []string `json:"authorization_servers,omitempty"` // none where only keys are taken
	BearerMethods        []string `json:"bearer_methods_supported"`
}

// serveMetadata tells a client where to get a token for us. All servers behind a gateway are one resource.
func (g *Gateway) serveMetadata(w http.ResponseWriter, _ *http.Request) {
	m := protectedResource{Resource: g.config().Resource, Name: "Countersign gateway", BearerMethods: []string{"header"}}
	for _, i := range g.config().Issuers {
		m.AuthorizationServers = append(m.AuthorizationServers, i.Issuer)
	}
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Cache-Control", "public, max-age=300")
	writeJSON(w, http.StatusOK, m)
}

// metadataURL is where the metadata is.
func (g *Gateway) metadataURL() string {
	u, err := url.Parse(g.config().Resource)
	if err != nil { // Validate parsed it
		return ""
	}
	u.Path = wellKnown + u.Path
	return u.String()
}

// challengeHeader says where to get a token and, to who has one, what is wrong with it (RFC 6750, RFC 9728).
func (g *Gateway) challengeHeader(err error) string {
	header := fmt.Sprintf("Bearer resource_metadata=%q", g.metadataURL())
	if !errors.Is(err, errNoToken) {
		header += fmt.Sprintf(", error=\"invalid_token\", error_description=%q", publicReason(err))
	}
	return header
}

// challenge answers 401 and says where to get a token.
func (g *Gateway) challenge(w http.ResponseWriter, err error) {
	w.Header().Set("WWW-Authenticate", g.challengeHeader(err))
	writeRPCError(w, nil, &rpcError{status: http.StatusUnauthorized, code: codeDenied, message: "Not signed in: " + publicReason(err) + "."})
}

// publicReason is what a stranger is told.
func publicReason(err error) string {
	for _, known := range []error{
		errNoToken, errMalformed, errTokenType, errUnknownIssuer, errAlgorithm, errSignature, errAudience, errTimes, errIssuerUnreachable,
		errKeyText, errKeyUnknown, errKeyExpired, errNoKeys,
	} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return "the token was not accepted"
}

// authenticate answers 401, or 503 when we cannot know, and returns nil unless the request has a good token.
func (g *Gateway) authenticate(w http.ResponseWriter, r *http.Request) *caller {
	c, err := g.identify(r)
	switch {
	case err == nil:
		return c
	case errors.Is(err, errIssuerUnreachable) || errors.Is(err, errNoKeys):
		g.log.Warn("a caller was not identified", slog.Any("error", err))
		w.Header().Set("Retry-After", "10")
		writeRPCError(w, nil, &rpcError{status: http.StatusServiceUnavailable, code: codeDenied, message: "Not signed in: " + publicReason(err) + "."})
	default:
		g.challenge(w, err)
	}
	return nil
}

// fromAllowedOrigin refuses what a page of another site makes a browser send. On loopback it also refuses
// names that do not belong there, which is what DNS rebinding looks like.
func (g *Gateway) fromAllowedOrigin(r *http.Request) bool {
	resource, err := url.Parse(g.config().Resource)
	if err != nil || r.URL.IsAbs() && r.URL.Scheme != "http" && r.URL.Scheme != "https" { // Validate parsed the first
		return false
	}
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	here := local != nil && isLoopback(local.String())
	for _, origin := range r.Header.Values("Origin") {
		own := origin == resource.Scheme+"://"+resource.Host || here && origin == "http://"+r.Host
		if !own && !slices.Contains(g.config().Origins, origin) {
			return false
		}
	}
	return !here || isLoopback(r.Host) || r.Host == resource.Host
}

// isLoopback reports whether host, with or without a port, is this machine.
func isLoopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil { // our own types
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the caller may have gone
}
