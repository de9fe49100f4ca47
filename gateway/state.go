package gateway

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"countersign/canonical"
)

// requestState is what we let a client carry between input_required and its retry. It is no authority: it only
// names the approval, and is bound to the call and to the caller.
type requestState struct {
	Approval string           `json:"approval"`
	Digest   canonical.Digest `json:"digest"`
	Caller   string           `json:"caller"`
	Expires  int64            `json:"expires"`

	// Of an approved call that goes on: see turn.
	Turn   string          `json:"turn,omitempty"`
	Server json.RawMessage `json:"server,omitempty"` // the server's own state, as it wrote it
	Asked  []string        `json:"asked,omitempty"`  // the keys of its inputRequests
}

// sealer protects the integrity of states that clients carry.
type sealer struct{ key []byte }

const (
	fileSeal    = "state.key"
	statePrefix = "cst1."
)

// loadSeal reads the key from the state directory, or makes one.
func loadSeal(dir string) (sealer, error) {
	path := filepath.Join(dir, fileSeal)
	key, err := os.ReadFile(path)
	if err == nil && len(key) == sha256.Size {
		return sealer{key}, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return sealer{}, fmt.Errorf("reading the key of request states: %w", err)
	}
	key = make([]byte, sha256.Size)
	_, _ = rand.Read(key) // never fails
	if err := os.WriteFile(path, key, 0o600); err != nil {
		return sealer{}, fmt.Errorf("writing the key of request states: %w", err)
	}
	return sealer{key}, nil
}

func (s sealer) mac(payload string) []byte {
	h := hmac.New(sha256.New, s.key)
	h.Write([]byte("countersign/request-state/v1\x00" + payload))
	return h.Sum(nil)
}

func (s sealer) seal(state requestState) string {
	payload := base64.RawURLEncoding.EncodeToString(encode(state))
	return statePrefix + payload + "." + base64.RawURLEncoding.EncodeToString(s.mac(payload))
}

var errState = errors.New("the request state is not one of ours")

func (s sealer) open(text string) (requestState, error) {
	rest, ok := strings.CutPrefix(text, statePrefix)
	payload, signature, ok2 := strings.Cut(rest, ".")
	mac, err := base64.RawURLEncoding.DecodeString(signature)
	if !ok || !ok2 || err != nil || !hmac.Equal(mac, s.mac(payload)) {
		return requestState{}, errState
	}
	data, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return requestState{}, errState
	}
	var state requestState
	if err := json.Unmarshal(data, &state); err != nil {
		return requestState{}, errState
	}
	return state, nil
}
