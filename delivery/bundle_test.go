package delivery

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	mathrand "math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"countersign/policy"
)

func newBundleKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestABundleIsTheSameEachTime(t *testing.T) {
	t.Parallel()
	key := newBundleKey(t)
	d := &dice{Rand: mathrand.New(mathrand.NewPCG(1, 3)), conditions: true}
	src := d.source()
	first, err := newBundle(snapshotFor(indexed(t, src)), "k", key)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		d.Shuffle(len(src.Grants), func(i, j int) { src.Grants[i], src.Grants[j] = src.Grants[j], src.Grants[i] })
		again, err := newBundle(snapshotFor(indexed(t, src)), "k", key)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first, again) {
			t.Fatal("two bundles of one snapshot")
		}
	}
}

// TestBundleFilesAreCanonical checks that the digest of each JSON file is that of its content, which is what OPA verifies.
func TestBundleFilesAreCanonical(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		src := (&dice{Rand: mathrand.New(mathrand.NewPCG(seed, 4)), conditions: true}).source()
		zipped, err := gzip.NewReader(bytes.NewReader(bundleOf(t, indexed(t, src))))
		if err != nil {
			t.Fatal(err)
		}
		for r := tar.NewReader(zipped); ; {
			header, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(header.Name, ".rego") {
				continue
			}
			if sorted := sortedJSON(t, text); !bytes.Equal(sorted, text) {
				t.Errorf("%s is not in the form that OPA digests:\n%.500s\n%.500s", header.Name, text, sorted)
			}
		}
	}
}

// sortedJSON reads and writes a text, members in the order of their names and numbers as they are.
func sortedJSON(t *testing.T, text []byte) []byte {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	sorted, err := encodeJSON(v)
	if err != nil {
		t.Fatal(err)
	}
	return sorted
}

func TestABundleHasATagOfItsOwn(t *testing.T) {
	t.Parallel()
	if BundleEncoding("k1") == BundleEncoding("k2") {
		t.Error("bundles that two keys sign have one tag")
	}
	s := snapshotFor(indexed(t, inputSource()))
	b, err := (&Delivery{}).Bundle(s, "k1", newBundleKey(t))
	if err != nil {
		t.Fatal(err)
	}
	tag, ok := policy.ParseETag(b.ETag)
	if !ok || tag.Encoding != BundleEncoding("k1") || !policy.ParseHeld([]string{b.ETag}).Has(s.Tag) {
		t.Errorf("the tag is %s, of the document %s", b.ETag, s.ETag)
	}
}

// TestABundleIsMadeOnce asks from many sides at once, as gateways do when a revision wakes them.
func TestABundleIsMadeOnce(t *testing.T) {
	t.Parallel()
	var all bundles
	var made atomic.Int64
	ask := func(etag string) {
		got, err := all.of("aud_1", etag, func() ([]byte, error) { made.Add(1); return []byte(etag), nil })
		if err != nil || string(got) != etag {
			t.Errorf("asked for %s, got %s, %v", etag, got, err)
		}
	}
	for _, etag := range []string{"r1", "r2"} {
		var askers sync.WaitGroup
		for range 64 {
			askers.Go(func() { ask(etag) })
		}
		askers.Wait()
	}
	if n := made.Load(); n != 2 {
		t.Errorf("two bundles were made %d times", n)
	}
}
