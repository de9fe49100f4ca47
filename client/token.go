package client

import (
	"context"
	"net/http"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// tokenMargin is how long before its end a token is not used any more.
const tokenMargin = 30 * time.Second

// tokenCache holds the gateway's access token. Unlike oauth2.ReuseTokenSource it can drop a token that the
// control plane refused, and it takes the context of each request.
type tokenCache struct {
	config clientcredentials.Config
	now    func() time.Time

	mu    sync.Mutex
	token *oauth2.Token
}

// get returns a token with some life left. One caller fetches; the others wait for it.
func (t *tokenCache) get(ctx context.Context, client *http.Client) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token != nil && (t.token.Expiry.IsZero() || t.now().Before(t.token.Expiry.Add(-t.margin()))) {
		return t.token.AccessToken, nil
	}
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, oauth2.HTTPClient, client), defaultTimeout)
	defer cancel()
	token, err := t.config.Token(ctx)
	if err != nil {
		return "", tokenError(err)
	}
	t.token = token
	return token.AccessToken, nil
}

// margin is shorter for tokens that live shorter than it.
func (t *tokenCache) margin() time.Duration {
	return min(tokenMargin, time.Duration(t.token.ExpiresIn)*time.Second/4)
}

// drop forgets a token that was refused, unless it was replaced meanwhile.
func (t *tokenCache) drop(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token != nil && t.token.AccessToken == token {
		t.token = nil
	}
}
