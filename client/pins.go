package client

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"

	"github.com/go-jose/go-jose/v4"

	"countersign/policy"
)

// pins are what the first contact fixed: whose policy we run, for which audience, and who may say what signs it.
// An operator who moves a gateway to another control plane removes the file, or configures another root; nothing
// that arrives over the network does.
//
// Root is "" where a control plane without a root was pinned: then Keys are all there will ever be.
type pins struct {
	Issuer   string             `json:"issuer"`
	Audience string             `json:"audience"`
	Root     string             `json:"root,omitempty"`    // thumbprint
	Version  int64              `json:"version,omitempty"` // of the set that Keys are from
	Keys     jose.JSONWebKeySet `json:"keys"`              // for policies
}

var (
	errAnotherIssuer = errors.New("the policy is of another issuer or audience than at first contact")
	errOlderKeys     = errors.New("the set of keys is older than the one that is pinned")
	errRotated       = errors.New("the key of the control plane has changed, and no root key is pinned that could vouch for the new one: configure root_key")
	errNoRoot        = errors.New("the control plane does not sign its set of keys, and a root key is configured")
)

// open verifies a policy and indexes it.
func (p *pins) open(jws string) (*Snapshot, error) {
	raw, document, err := verified(jws, p.Keys)
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
		digest: sha256.Sum256(raw),
	}, nil
}

// knows reports whether the key that a JWS names is pinned. What cannot be read is left to open.
func (p *pins) knows(jws string) bool {
	signed, err := jose.ParseSignedCompact(jws, []jose.SignatureAlgorithm{jose.EdDSA})
	return err != nil || len(signed.Signatures) != 1 || len(p.Keys.Key(signed.Signatures[0].Protected.KeyID)) > 0
}

func verified(jws string, keys jose.JSONWebKeySet) ([]byte, policy.Document, error) {
	raw, err := policy.Open(jws, keys)
	if err != nil {
		return nil, policy.Document{}, fmt.Errorf("verifying policy: %w", err)
	}
	document, err := policy.Decode(raw)
	if err != nil {
		return nil, policy.Document{}, fmt.Errorf("decoding policy: %w", err)
	}
	return raw, document, nil
}

// take replaces the keys by those of a later set of the same root.
func (p *pins) take(set KeySet) (*pins, error) {
	switch {
	case p.Issuer != "" && set.Issuer != p.Issuer:
		return nil, errAnotherIssuer
	case set.Version < p.Version:
		return nil, fmt.Errorf("version %d after %d: %w", set.Version, p.Version, errOlderKeys)
	}
	next := *p
	next.Version, next.Keys = set.Version, set.For(PurposePolicy)
	return &next, nil
}

// pin makes the pins of a first contact: the keys that the control plane names now must verify the policy that it
// gave us. The root is the configured one, else the one it names.
func (c *Client) pin(ctx context.Context, jws, root string) (*pins, error) {
	set, pinned, err := c.keySet(ctx, root)
	if err != nil {
		return nil, err
	}
	_, document, err := verified(jws, set.For(PurposePolicy))
	if err != nil {
		return nil, err
	}
	if pinned != "" && document.Issuer != set.Issuer {
		return nil, errAnotherIssuer
	}
	return &pins{
		Issuer: document.Issuer, Audience: document.Audience, Root: pinned, Version: set.Version, Keys: set.For(PurposePolicy),
	}, nil
}

// keySet fetches the keys as root vouches for them; "" takes any root, or none where the control plane has none.
func (c *Client) keySet(ctx context.Context, root string) (set KeySet, pinned string, err error) {
	ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
	defer cancel()
	res, err := c.send(ctx, http.MethodGet, PathKeys, http.Header{"Accept": {TypeJOSE + ", application/json;q=0.1"}}, nil)
	if err != nil {
		return KeySet{}, "", doing("fetching keys", err)
	}
	defer func() {
		drain(res.Body)
		_ = res.Body.Close() // it was only read
	}()
	if res.StatusCode != http.StatusOK {
		return KeySet{}, "", doing("fetching keys", readError(res))
	}
	body, err := readBounded(res.Body, maxKeySet)
	if err != nil {
		return KeySet{}, "", doing("fetching keys", err)
	}
	switch media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); {
	case media == TypeJOSE:
		set, pinned, err = OpenKeySet(string(body), root)
	case root != "":
		err = errNoRoot
	default:
		set, err = unsignedKeys(body)
	}
	return set, pinned, doing("reading keys", err)
}

// unsignedKeys reads the plain JWKS of a control plane that has no root.
func unsignedKeys(body []byte) (KeySet, error) {
	var plain jose.JSONWebKeySet
	if err := json.Unmarshal(body, &plain); err != nil {
		return KeySet{}, err
	}
	var set KeySet
	for _, k := range plain.Keys {
		set.Keys = append(set.Keys, PublishedKey{Purpose: PurposePolicy, JSONWebKey: k})
	}
	return set, nil
}

// refreshKeys fetches the set anew and keeps it, when a root is pinned to vouch for it.
func (f *Feed) refreshKeys(ctx context.Context) (*pins, error) {
	f.mu.Lock()
	pinned := f.pins
	f.mu.Unlock()
	if pinned == nil || pinned.Root == "" {
		return pinned, nil
	}
	set, _, err := f.Client.keySet(ctx, pinned.Root)
	if err != nil {
		return nil, err
	}
	next, err := pinned.take(set)
	if err != nil || next.Version == pinned.Version {
		return pinned, err
	}
	if err := f.keepPins(next); err != nil {
		return nil, err
	}
	f.log.Info("the control plane has another set of keys", slog.Int64("version", next.Version), slog.Int("policy_keys", len(next.Keys.Keys)))
	return next, nil
}

// keepPins writes pins to disk, then goes by them.
func (f *Feed) keepPins(p *pins) error {
	if err := f.disk.writePins(p); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pins = p
	return nil
}
