package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"countersign/client"
)

// How often the keys of an issuer are fetched: when they are old, and, but not more often than keysRetry, when
// a token names a key that is not among them.
const (
	keysFresh = 5 * time.Minute
	keysUsed  = time.Hour // after that long without a successful fetch no key is trusted
	keysRetry = 10 * time.Second
)

// issuer holds the public keys of one identity provider, found through its discovery document.
type issuer struct {
	name       string
	algorithms []string
	audience   []string // taken beside our own resource
	leeway     time.Duration
	claims     client.ClaimNames
	http       *http.Client
	now        func() time.Time

	mu      sync.Mutex
	keys    jose.JSONWebKeySet
	fetched time.Time
	tried   time.Time
}

var errIssuerUnreachable = errors.New("the keys of the token's issuer cannot be fetched now")

// defaultAlgorithms are those of nearly every provider.
var defaultAlgorithms = []string{"RS256", "ES256", "EdDSA"}

func newIssuer(cfg Issuer, hc *http.Client, now func() time.Time) *issuer {
	if len(cfg.Algorithms) == 0 {
		cfg.Algorithms = defaultAlgorithms
	}
	i := &issuer{
		name: cfg.Issuer, algorithms: cfg.Algorithms, audience: cfg.Audience, leeway: defaultLeeway,
		claims: client.ClaimNames(cfg.Claims), http: hc, now: now,
	}
	if cfg.ClockLeeway != nil {
		i.leeway = *cfg.ClockLeeway
	}
	return i
}

// open verifies a signature and returns what was signed.
func (i *issuer) open(ctx context.Context, signed *jose.JSONWebSignature) ([]byte, error) {
	header := signed.Signatures[0].Protected
	for _, other := range []bool{false, true} { // a token that names no key, or an old name, may be by a new one
		candidates, err := i.candidates(ctx, header.KeyID, header.Algorithm, other)
		if err != nil {
			return nil, err
		}
		for _, key := range candidates {
			if payload, err := signed.Verify(key.Key); err == nil {
				return payload, nil
			}
		}
	}
	return nil, errSignature
}

// candidates returns the keys that may have made a signature. A token without a key id may be by any of a few. With other,
// those that we have did not.
func (i *issuer) candidates(ctx context.Context, kid, algorithm string, other bool) ([]jose.JSONWebKey, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	found := i.matching(kid, algorithm)
	if age := i.now().Sub(i.fetched); other || len(found) == 0 || age > keysFresh {
		err := i.refresh(ctx)
		if err != nil && (i.fetched.IsZero() || age > keysUsed) {
			return nil, err
		}
		found = i.matching(kid, algorithm)
	}
	if len(found) == 0 || len(found) > 8 {
		return nil, errSignature
	}
	return found, nil
}

func (i *issuer) matching(kid, algorithm string) []jose.JSONWebKey {
	var found []jose.JSONWebKey
	for _, key := range i.keys.Keys {
		if (kid == "" || key.KeyID == kid) && (key.Use == "" || key.Use == "sig") && (key.Algorithm == "" || key.Algorithm == algorithm) && key.IsPublic() {
			found = append(found, key)
		}
	}
	return found
}

// refresh fetches the keys, unless that was just tried. The caller holds i.mu: callers with unknown keys wait
// for one fetch, they do not each make one.
func (i *issuer) refresh(ctx context.Context) error {
	if i.now().Sub(i.tried) < keysRetry {
		return errIssuerUnreachable
	}
	i.tried = i.now()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	var metadata struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := i.get(ctx, strings.TrimSuffix(i.name, "/")+"/.well-known/openid-configuration", &metadata); err != nil {
		return err
	}
	if metadata.Issuer != i.name {
		return fmt.Errorf("%w: its metadata names another issuer", errIssuerUnreachable)
	}
	if strings.HasPrefix(i.name, "https://") && !strings.HasPrefix(metadata.Keys, "https://") {
		return fmt.Errorf("%w: its metadata names keys that anybody on the way could replace", errIssuerUnreachable)
	}
	var keys jose.JSONWebKeySet
	if err := i.get(ctx, metadata.Keys, &keys); err != nil {
		return err
	}
	i.keys, i.fetched = keys, i.now()
	return nil
}

func (i *issuer) get(ctx context.Context, url string, out any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("%w: %w", errIssuerUnreachable, err)
	}
	req.Header.Set("Accept", "application/json")
	res, err := i.http.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", errIssuerUnreachable, err)
	}
	defer func() { _ = res.Body.Close() }() // only read
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: it answered %d", errIssuerUnreachable, res.StatusCode)
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(out); err != nil {
		return fmt.Errorf("%w: %w", errIssuerUnreachable, err)
	}
	return nil
}
