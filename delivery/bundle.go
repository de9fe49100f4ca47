package delivery

import (
	"crypto/ecdsa"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"sync"

	"countersign/policy"
)

// A bundle is a snapshot for gateways that decide with Open Policy Agent: the document as data that its evaluator finds
// its way in, one fixed module that means what Index.Decide means, and a signature that stock OPA verifies.
//
//	Snapshot ──▶ data.json ─┐
//	countersign.rego ───────┼─▶ .signatures.json (ES256) ──▶ tar.gz
//	.manifest ──────────────┘
//
// It is made when it is first asked for, once for each snapshot and key, by the replica that serves it. Every part of it
// is a function of the snapshot, the module and the key, the signature too (RFC 6979), so that all replicas serve the
// same bytes and its entity tag is a strong one.

//go:embed rego/countersign.rego
var bundleModule []byte

// bundleFormat is raised when the data or the manifest of a bundle change their form, so that its entity tag changes.
const bundleFormat = "countersign/bundle/v1"

// Bundle is a snapshot as a signed bundle for OPA.
type Bundle struct {
	*Snapshot
	Encoding string // what its entity tags end with; see policy.Tag
	ETag     string
	Archive  []byte // tar.gz
}

// BundleEncoding is what the entity tags of the bundles that a key signs end with. It differs where the bytes of a
// bundle differ though the snapshot is the same: by the key and by the form of the bundle.
func BundleEncoding(kid string) string {
	sum := sha256.Sum256([]byte(bundleFormat + "\x00" + string(bundleModule) + "\x00" + kid))
	return "opa-" + hex.EncodeToString(sum[:4])
}

// Bundle gives the bundle of a snapshot, signed by a P-256 key.
func (d *Delivery) Bundle(s *Snapshot, kid string, key *ecdsa.PrivateKey) (Bundle, error) {
	encoding := BundleEncoding(kid)
	etag := policy.ETag(s.Epoch, s.Revision, s.Digest, encoding)
	archive, err := d.bundles.of(s.AudienceID, etag, func() ([]byte, error) { return newBundle(s, kid, key) })
	if err != nil {
		return Bundle{}, fmt.Errorf("making the bundle of revision %d: %w", s.Revision, err)
	}
	return Bundle{Snapshot: s, Encoding: encoding, ETag: etag, Archive: archive}, nil
}

// bundles keeps the last bundle of each audience. Its zero value is ready.
type bundles struct {
	mu   sync.Mutex
	last map[string]*madeBundle // by audience
}

type madeBundle struct {
	etag    string
	once    sync.Once
	archive []byte
	err     error
}

// of gives the bundle with an entity tag, and makes it unless it is the audience's last. Who asks for the same one
// meanwhile waits for it.
func (b *bundles) of(audienceID, etag string, make func() ([]byte, error)) ([]byte, error) {
	made := b.entry(audienceID, etag)
	made.once.Do(func() { made.archive, made.err = make() })
	return made.archive, made.err
}

func (b *bundles) entry(audienceID, etag string) *madeBundle {
	b.mu.Lock()
	defer b.mu.Unlock()
	if last := b.last[audienceID]; last != nil && last.etag == etag {
		return last
	}
	if b.last == nil {
		b.last = map[string]*madeBundle{}
	}
	b.last[audienceID] = &madeBundle{etag: etag}
	return b.last[audienceID]
}
