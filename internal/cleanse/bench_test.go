package cleanse_test

import (
	"fmt"
	"strings"
	"testing"

	"countersign/canonical"
	"countersign/internal/cleanse"
)

const prose = "The quick brown fox jumps over the lazy dog; it costs 12.50 EUR, says (a) note.\n\tThe next line has nothing to hide.\n"

func of(text string, size int) string { return strings.Repeat(text, size/len(text)+1)[:size] }

// BenchmarkText is the cost of a text in which nothing changes.
func BenchmarkText(b *testing.B) {
	f := cleanse.New(cleanse.Options{})
	for name, text := range map[string]string{
		"prose": prose,
		"code":  "if err := s.get(key, \"token\"); err != nil && a < b { return fmt.Errorf(\"reading %s: %w\", m[0][i], err) }\n",
		"log":   "2026-11-22T19:40:19.123Z INFO [main] request id=7f3a9c12-aa01 status=200 key=order-1001 took=12ms\n",
	} {
		for _, size := range []int{1 << 10, 64 << 10, 1 << 20} {
			s := of(text, size)
			b.Run(fmt.Sprintf("%s/%dKiB", name, size>>10), func(b *testing.B) {
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					if _, found := f.Text(s); found.Texts != 0 {
						b.Fatal("changed")
					}
				}
			})
		}
	}
}

// BenchmarkMessage is the cost of a result in which nothing changes.
func BenchmarkMessage(b *testing.B) {
	f := cleanse.New(cleanse.Options{})
	for _, size := range []int{1 << 10, 64 << 10, 1 << 20} {
		raw := []byte(`{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":` + string(canonical.AppendString(nil, of(prose, size))) + `}]}}`)
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				if _, found, err := f.Message(raw); err != nil || found.Texts != 0 {
					b.Fatal("changed")
				}
			}
		})
	}
}

// BenchmarkHostile is the cost of texts made to cost much.
func BenchmarkHostile(b *testing.B) {
	f := cleanse.New(cleanse.Options{})
	for name, piece := range endless {
		s := of(piece, 256<<10)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(s)))
			for b.Loop() {
				f.Text(s)
			}
		})
	}
}

// endless are pieces that make a text costly when they are repeated: what opens and never closes, what looks like more.
var endless = map[string]string{
	"tags": "<a ", "tags with quotes": "<a b=\"", "images": "![", "images with code": "![`", "image addresses": "![a](", "references": "![a][b",
	"links": "](", "definitions": "]:", "definitions that load": "[a]:http://b ", "images by definition": "![a] [a]:http://b ", "fences": "```\n~~~\n", "backticks": "`` ` ```", "escapes": "\x1b]", "C1": "\u009d",
	"words of keys": "key=token ey api-", "keys": "api_key=\"a1b2c3d4e5f6\" ", "dense": "a1b2c3d4e5f6g7h8", "JWT": "eyJhbGciOiJIUzI1NiJ9.", "addresses": "://a:b@", "digits": "4111 1111 ",
	"percents": "%41%42%43 ", "joiners": "\u200d\u200c", "brackets": "![[[", "styles": "<style>", "entities": "[a](&#106", "markers": "[secret removed: ", "PEM": "-----BEGIN A PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7vbqajDw4o6g\n", "lines": "a1b2c3d4e5f6\n\n",
	"quotes": "https://a1b2c3d4e5f6 aws secret = '", "slack": "xoxb-123456789012-", "curl": "curl -u a1b2c3d4e5f6:",
}
