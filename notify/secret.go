package notify

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// What is sealed, each bound to its channel by its id.
const (
	purposeTarget  = "address of a channel"
	purposeSecrets = "signing secrets of a channel"
)

// overlap is how long a secret that was replaced still signs, beside its successor.
const overlap = 24 * time.Hour

// maxSecrets that sign at a time, however often somebody rotates.
const maxSecrets = 4

const secretPrefix = "whsec_"

// secret is a signing secret of a webhook: whsec_ and 256 random bits in base64.
type secret struct {
	Text  string     `json:"text"`
	Until *time.Time `json:"until,omitempty"` // nil: it is the present one
}

func newSecret() secret {
	random := make([]byte, 32)
	_, _ = rand.Read(random) // it never fails: the program would end first
	return secret{Text: secretPrefix + base64.StdEncoding.EncodeToString(random)}
}

// rotated is a new secret before those that still sign at now, the present one among them for the overlap.
func rotated(secrets []secret, now time.Time) []secret {
	until := now.Add(overlap)
	out := []secret{newSecret()}
	for _, s := range secrets {
		if s.Until == nil {
			s.Until = &until
		}
		if s.Until.After(now) && len(out) < maxSecrets {
			out = append(out, s)
		}
	}
	return out
}

// sign gives the header webhook-signature of Standard Webhooks: a v1 signature for each secret that is good at now.
func sign(secrets []secret, id string, now time.Time, body []byte) (string, error) {
	var signatures []string
	for _, s := range secrets {
		if s.Until != nil && !s.Until.After(now) {
			continue
		}
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s.Text, secretPrefix))
		if err != nil {
			return "", fmt.Errorf("reading a signing secret: %w", err)
		}
		mac := hmac.New(sha256.New, key)
		fmt.Fprintf(mac, "%s.%d.", id, now.Unix())
		mac.Write(body)
		signatures = append(signatures, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	return strings.Join(signatures, " "), nil
}

func (n *Notifier) seal(purpose, channelID string, v any) ([]byte, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding the %s: %w", purpose, err)
	}
	return n.cfg.Seal.Seal(purpose, plain, []byte(channelID))
}

func (n *Notifier) open(purpose, channelID string, sealed []byte, into any) error {
	if sealed == nil {
		return nil
	}
	plain, err := n.cfg.Seal.Open(purpose, sealed, []byte(channelID))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(plain, into); err != nil {
		return fmt.Errorf("decoding the %s: %w", purpose, err)
	}
	return nil
}
