package devidp

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
)

// Agent is the other side of the assertion grant: a client with a key that speaks for demo
// people.
type Agent struct {
	Issuer   string
	ClientID string
	Key      ed25519.PrivateKey

	Model  string        // the model to claim; "" leaves the one in the client's registration
	AMR    []string      // how the person signed in; nil leaves it to the provider
	ACR    string        // the context class of that sign-in; "" for none
	Age    time.Duration // how long ago it was; 0: just now
	Client *http.Client
	Now    func() time.Time
}

// Token gets an access token for a person at a resource, the URL of a gateway.
func (a Agent) Token(ctx context.Context, person, resource string) (string, error) {
	now, client := a.Now, a.Client
	if now == nil {
		now = time.Now
	}
	if client == nil {
		client = http.DefaultClient
	}
	c := assertionClaims{Issuer: a.ClientID, Subject: person, Audience: jwt.Audience{a.Issuer}, Model: a.Model, AMR: a.AMR, ACR: a.ACR}
	if a.Age > 0 {
		c.AuthTime = jwt.NewNumericDate(now().Add(-a.Age))
	}
	assertion, err := signAssertion(a.Key, c, now())
	if err != nil {
		return "", fmt.Errorf("signing an assertion for %q: %w", person, err)
	}
	form := url.Values{"grant_type": {jwtBearer}, "assertion": {assertion}}
	if resource != "" {
		form.Set("resource", resource)
	}
	token, err := postToken(ctx, client, a.Issuer+"/token", form)
	if err != nil {
		return "", fmt.Errorf("getting a token for %q: %w", person, err)
	}
	return token, nil
}

func postToken(ctx context.Context, client *http.Client, endpoint string, form url.Values) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var answer struct {
		AccessToken string `json:"access_token"`
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxRequestBytes)).Decode(&answer); err != nil {
		return "", fmt.Errorf("reading the answer (%s): %w", resp.Status, err)
	}
	if resp.StatusCode != http.StatusOK || answer.AccessToken == "" {
		return "", fmt.Errorf("the provider refused it: %s: %s", answer.Error, answer.Description)
	}
	return answer.AccessToken, nil
}
