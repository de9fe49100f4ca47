package delivery

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"time"

	"countersign/policy"
)

// bundleFile is one of a bundle.
type bundleFile struct {
	name string
	text []byte
}

// newBundle makes the bundle of a snapshot: the same bytes each time.
func newBundle(s *Snapshot, kid string, key *ecdsa.PrivateKey) ([]byte, error) {
	document := s.Index.Document()
	manifest, err := bundleManifest(s, document)
	if err != nil {
		return nil, err
	}
	data, err := encodeJSON(bundleData{newPolicyData(document)})
	if err != nil {
		return nil, err
	}
	files := []bundleFile{{".manifest", manifest}, {"countersign.rego", bundleModule}, {"data.json", data}}
	signatures, err := signBundle(files, kid, key)
	if err != nil {
		return nil, err
	}
	return archive(append([]bundleFile{{".signatures.json", signatures}}, files...), document.IssuedAt)
}

// bundleManifest says what the bundle is. The revision is that of the entity tag: OPA repeats it in its status and its
// decision log.
func bundleManifest(s *Snapshot, document *policy.Document) ([]byte, error) {
	tag, _ := policy.ParseETag(s.ETag)
	return encodeJSON(map[string]any{
		"metadata": map[string]any{
			"audience": document.Audience, "epoch": document.Epoch, "issued_at": document.IssuedAt, "issuer": document.Issuer,
			"max_stale_seconds": document.MaxStaleSeconds, "revision": document.Revision,
		},
		"rego_version": 1,
		"revision":     fmt.Sprintf("e%d.r%d.%s", tag.Epoch, tag.Revision, tag.Digest),
		"roots":        []string{"countersign", "countersign_policy"},
	})
}

// signBundle makes .signatures.json: a JWS over the digests of the files. OPA digests a JSON file by its content, in the
// form that encodeJSON writes.
func signBundle(files []bundleFile, kid string, key *ecdsa.PrivateKey) ([]byte, error) {
	type hashed struct {
		Algorithm string `json:"algorithm"`
		Hash      string `json:"hash"`
		Name      string `json:"name"`
	}
	signed := make([]hashed, 0, len(files))
	for _, f := range files {
		sum := sha256.Sum256(f.text)
		signed = append(signed, hashed{"SHA-256", hex.EncodeToString(sum[:]), f.name})
	}
	payload, err := encodeJSON(map[string]any{"files": signed})
	if err != nil {
		return nil, err
	}
	header, err := encodeJSON(map[string]string{"alg": "ES256", "kid": kid, "typ": "JWT"})
	if err != nil {
		return nil, err
	}
	input := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(payload)
	signature, err := signES256([]byte(input), key)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return encodeJSON(map[string][]string{"signatures": {input + "." + base64.RawURLEncoding.EncodeToString(signature)}})
}

// signES256 signs by RFC 7518 section 3.4. What is random about it is derived from the key and the text (RFC 6979), so
// that the same text has the same signature.
func signES256(text []byte, key *ecdsa.PrivateKey) ([]byte, error) {
	sum := sha256.Sum256(text)
	der, err := key.Sign(nil, sum[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	var s struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &s); err != nil {
		return nil, err
	}
	signature := make([]byte, 64)
	s.R.FillBytes(signature[:32])
	s.S.FillBytes(signature[32:])
	return signature, nil
}

func archive(files []bundleFile, at time.Time) ([]byte, error) {
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	w := tar.NewWriter(zipped)
	for _, f := range files {
		header := &tar.Header{Name: f.name, Mode: 0o444, Size: int64(len(f.text)), ModTime: at.UTC().Truncate(time.Second), Format: tar.FormatUSTAR}
		if err := w.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("writing %s: %w", f.name, err)
		}
		if _, err := w.Write(f.text); err != nil {
			return nil, fmt.Errorf("writing %s: %w", f.name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("closing the archive: %w", err)
	}
	if err := zipped.Close(); err != nil {
		return nil, fmt.Errorf("closing the archive: %w", err)
	}
	return out.Bytes(), nil
}

// encodeJSON writes v without spaces and without escapes for HTML. The members of a struct have to be declared in the
// order of their names, as those of a map are written: then a reader that sorts them finds what was written.
func encodeJSON(v any) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encoding: %w", err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}
