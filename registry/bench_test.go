package registry

import (
	"encoding/json"
	"fmt"
	"testing"

	"countersign/client"
	"countersign/policy"
)

// bigOffer is what a server with as many tools as there may be serves.
func bigOffer(n int, text string) []json.RawMessage {
	raws := make([]json.RawMessage, n)
	for i := range raws {
		raws[i] = tool(fmt.Sprintf("tool_%04d", i), text+" the thing that this tool is about, and says so in a sentence.")
	}
	return raws
}

// A look at the largest server there may be: nothing changed, everything changed, everything gone and back.
func BenchmarkObserveLargest(b *testing.B) {
	w := newWorld(b)
	s := w.register("largest", client.Offer{Tools: bigOffer(MaxItems, "Reads")})
	rows, err := w.db.Runtime.Query(w.ctx, `select id from definitions`)
	w.must(err)
	var pins []Pin
	var id string
	for rows.Next() {
		w.must(rows.Scan(&id))
		pins = append(pins, Pin{id, policy.Destructive})
	}
	w.must(rows.Err())
	w.must(w.Pin(w.ctx, w.owner, s.ID, pins, "first look"))
	offers := map[string][]json.RawMessage{"as pinned": bigOffer(MaxItems, "Reads"), "gone": nil, "drift": bigOffer(MaxItems, "Writes"), "drift again": bigOffer(MaxItems, "Drops")}
	look := func(b *testing.B, what string) {
		b.Helper()
		_, err := w.Observe(w.ctx, w.edge, client.Observation{ServerID: s.ID, EndpointDigest: s.Endpoint.Digest, Tools: offers[what]})
		if err != nil {
			b.Fatal(err)
		}
	}
	for _, bench := range []struct {
		name  string
		looks []string
	}{
		{"quiet", []string{"as pinned"}},
		{"gone and back", []string{"gone", "as pinned"}},
		{"changing while held", []string{"drift", "drift again"}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				look(b, bench.looks[i%len(bench.looks)])
			}
		})
	}
}
