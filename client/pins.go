package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/go-jose/go-jose/v4"

	"countersign/policy"
)

// pins are what the first contact fixed: whose policy we run, for which audience, signed by which keys. An
// operator who moves a gateway to another control plane, or whose control plane changed its keys, removes
// the file; nothing that arrives over the network does.
type pins struct {
	Issuer   string             `json:"issuer"`
	Audience string             `json:"audience"`
	Keys     jose.JSONWebKeySet `json:"keys"`
}

var errAnotherIssuer = errors.New("the policy is of another issuer or audience than at first contact")

// open verifies a policy and indexes it.
func (p *pins) open(jws string) (*Snapshot, error) {
	document, err := verified(jws, p.Keys)
	if err != nil {
		return nil, err
	}
	if document.Issuer != p.Issuer || document.Audience != p.Audience {
		return nil, errAnotherIssuer
	}
	index, err := policy.NewIndex(document)
	if err != nil {
		return nil, fmt.Errorf("indexing policy: %w", err)
	}
	return &Snapshot{
		Index: index, Issuer: document.Issuer, Audience: document.Audience, Epoch: document.Epoch, Revision: document.Revision,
	}, nil
}

func verified(jws string, keys jose.JSONWebKeySet) (policy.Document, error) {
	raw, err := policy.Open(jws, keys)
	if err != nil {
		return policy.Document{}, fmt.Errorf("verifying policy: %w", err)
	}
	document, err := policy.Decode(raw)
	if err != nil {
		return policy.Document{}, fmt.Errorf("decoding policy: %w", err)
	}
	return document, nil
}

// pin makes the pins of a first contact: the keys that the control plane names now must verify the policy
// that it gave us.
func (c *Client) pin(ctx context.Context, jws string) (*pins, error) {
	ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
	defer cancel()
	res, err := c.send(ctx, http.MethodGet, PathKeys, nil, nil)
	if err != nil {
		return nil, doing("fetching keys", err)
	}
	defer func() {
		drain(res.Body)
		_ = res.Body.Close() // it was only read
	}()
	if res.StatusCode != http.StatusOK {
		return nil, doing("fetching keys", readError(res))
	}
	body, err := readBounded(res.Body, 1<<20)
	if err != nil {
		return nil, doing("fetching keys", err)
	}
	p := &pins{}
	if err := json.Unmarshal(body, &p.Keys); err != nil {
		return nil, doing("reading keys", err)
	}
	document, err := verified(jws, p.Keys)
	if err != nil {
		return nil, err
	}
	p.Issuer, p.Audience = document.Issuer, document.Audience
	return p, nil
}
