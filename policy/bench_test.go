package policy_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"countersign/canonical"
	"countersign/policy"
)

var noon = time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)

const idp = "https://idp.example"

// bigSource is the registry of the performance budget: 1,000 servers of 20 tools,
// 2,000 users, 200 groups, 10,000 grants.
func bigSource(random *rand.Rand) policy.Source {
	src := policy.Source{Issuer: "https://countersign.example", Audience: "aud_1", Epoch: 1, Generation: 7, MaxStaleSeconds: 300}
	for i := range 1000 {
		s := policy.Server{
			ID: fmt.Sprintf("srv_%04d", i), Name: fmt.Sprintf("team-%02d/server-%04d", i%50, i), State: policy.Active,
			Team: fmt.Sprintf("tm_%02d", i%50), Endpoint: policy.Endpoint{
				Transport: policy.StreamableHTTP, URL: "https://mcp.example/", Digest: canonical.Sum("endpoint", nil),
			},
		}
		for j := range 20 {
			name := fmt.Sprintf("tool_%02d", j)
			s.Tools = append(s.Tools, policy.Tool{
				ID: s.ID + name, Kind: policy.KindTool, Name: name, Definition: canonical.Sum("definition", []byte(name)),
				Risk:        []policy.Risk{policy.ReadOnly, policy.Write, policy.Destructive}[j%3],
				InputSchema: []byte(`{"type":"object","properties":{"id":{"type":"string","maxLength":20}},"required":["id"]}`),
			})
		}
		src.Servers = append(src.Servers, s)
	}
	for i := range 10_000 {
		src.Grants = append(src.Grants, policy.SourceGrant{
			Grant:    policy.Grant{ID: fmt.Sprintf("grt_%05d", i), Name: "grant", Subject: bigSubject(random)},
			Resource: bigResource(random),
		})
	}
	for i := range 50 {
		team := fmt.Sprintf("team-%02d", i)
		src.Guardrails = append(src.Guardrails, policy.SourceGuardrail{
			Guardrail: policy.Guardrail{
				ID: "grd_" + team, Name: "destructive", Subject: policy.Subject{Everyone: true},
				Effect: policy.Effect{Approval: &policy.Approval{Quorum: 1, OwningTeam: true}},
			},
			Resource: policy.Resource{Servers: []string{team + "/*"}, Risks: []policy.Risk{policy.Destructive}},
		})
	}
	return src
}

func bigSubject(random *rand.Rand) policy.Subject {
	switch n := random.IntN(100); {
	case n < 60:
		return policy.Subject{Groups: []string{fmt.Sprintf("group-%03d", random.IntN(200))}}
	case n < 99:
		return policy.Subject{Users: []string{fmt.Sprintf("user-%04d", random.IntN(2000))}}
	default:
		return policy.Subject{Everyone: true}
	}
}

func bigResource(random *rand.Rand) policy.Resource {
	server := random.IntN(1000)
	exact := fmt.Sprintf("team-%02d/server-%04d", server%50, server)
	team := fmt.Sprintf("team-%02d/*", server%50)
	tool := fmt.Sprintf("tool_%02d", random.IntN(20))
	switch n := random.IntN(100); {
	case n < 50:
		return policy.Resource{Servers: []string{exact}, Names: []string{tool}}
	case n < 85:
		return policy.Resource{Servers: []string{exact}}
	case n < 95:
		return policy.Resource{Servers: []string{team}}
	case n < 99:
		return policy.Resource{Servers: []string{team}, Names: []string{tool}}
	default:
		return policy.Resource{Servers: []string{"*"}, Names: []string{tool}}
	}
}

func bigRequests(random *rand.Rand, n int) []policy.Request {
	requests := make([]policy.Request, n)
	for i := range requests {
		server := random.IntN(1000)
		p := &policy.Principal{Issuer: idp, Subject: fmt.Sprintf("user-%04d", random.IntN(2000)), Agent: "agent"}
		for range 4 {
			p.Groups = append(p.Groups, fmt.Sprintf("group-%03d", random.IntN(200)))
		}
		requests[i] = policy.Request{
			Server: fmt.Sprintf("team-%02d/server-%04d", server%50, server), Kind: policy.KindTool,
			Name: fmt.Sprintf("tool_%02d", random.IntN(20)), Principal: p, Now: noon,
		}
	}
	return requests
}

func bigIndex(b testing.TB) (*policy.Index, *rand.Rand) {
	b.Helper()
	random := rand.New(rand.NewPCG(7, 7))
	doc, _, err := policy.Compile(bigSource(random), noon)
	if err != nil {
		b.Fatal(err)
	}
	ix, err := policy.NewIndex(doc)
	if err != nil {
		b.Fatal(err)
	}
	return ix, random
}

func BenchmarkDecide(b *testing.B) {
	ix, random := bigIndex(b)
	requests := bigRequests(random, 8192)
	outcomes := map[policy.Outcome]int{}
	for _, r := range requests {
		outcomes[ix.Decide(r).Outcome]++
	}
	for o, n := range outcomes {
		b.ReportMetric(float64(n)/float64(len(requests))*100, "%"+o.String())
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		ix.Decide(requests[i%len(requests)])
	}
}

func BenchmarkDecideAllowed(b *testing.B) {
	ix, random := bigIndex(b)
	var allowed []policy.Request
	for _, r := range bigRequests(random, 8192) {
		if ix.Decide(r).Outcome == policy.Allow {
			allowed = append(allowed, r)
		}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		ix.Decide(allowed[i%len(allowed)])
	}
}

func BenchmarkCompile(b *testing.B) {
	src := bigSource(rand.New(rand.NewPCG(7, 7)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := policy.Compile(src, noon); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMarshal(b *testing.B) {
	ix, _ := bigIndex(b)
	b.ReportAllocs()
	for b.Loop() {
		text, err := ix.Document().Marshal()
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(text)))
	}
}

func BenchmarkDecode(b *testing.B) {
	ix, _ := bigIndex(b)
	text, err := ix.Document().Marshal()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := policy.Decode(text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNewIndex(b *testing.B) {
	ix, _ := bigIndex(b)
	doc := *ix.Document()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := policy.NewIndex(doc); err != nil {
			b.Fatal(err)
		}
	}
}
