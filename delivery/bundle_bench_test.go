package delivery

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"countersign/canonical"
	"countersign/internal/opatest"
	"countersign/policy"
)

// benchIndex is the registry of the budget, whose destructive tools need an approval, and calls that it allows.
func benchIndex(b *testing.B) (*policy.Index, []policy.Request) {
	b.Helper()
	random := rand.New(rand.NewPCG(7, 7))
	src := policy.Source{Issuer: "https://countersign.example", Audience: "aud_bench", Epoch: 1, Generation: 7, MaxStaleSeconds: 300}
	for n := range benchServers {
		src.Servers = append(src.Servers, benchServer(n))
	}
	for n := range benchGrants {
		subject, resource := benchRule(random)
		src.Grants = append(src.Grants, policy.SourceGrant{
			Grant: policy.Grant{ID: fmt.Sprintf("grt_%05d", n), Name: "grant", Subject: subject}, Resource: resource,
		})
	}
	for n := range 50 {
		team := fmt.Sprintf("team-%02d", n)
		src.Guardrails = append(src.Guardrails, policy.SourceGuardrail{
			Guardrail: policy.Guardrail{
				ID: "grd_" + team, Name: "destructive", Subject: policy.Subject{Everyone: true},
				Effect: policy.Effect{Approval: &policy.Approval{Quorum: 1, OwningTeam: true}},
			},
			Resource: policy.Resource{Servers: []string{team + "/*"}, Risks: []policy.Risk{policy.Destructive}},
		})
	}
	ix := indexed(b, src)
	var allowed []policy.Request
	for len(allowed) < 1000 {
		if r := benchRequest(random); ix.Decide(r).Outcome == policy.Allow {
			allowed = append(allowed, r)
		}
	}
	return ix, allowed
}

func benchServer(n int) policy.Server {
	s := policy.Server{
		ID: fmt.Sprintf("srv_%04d", n), Name: fmt.Sprintf("team-%02d/server-%04d", n%50, n), State: policy.Active, Team: fmt.Sprintf("tm_%02d", n%50),
		Endpoint: policy.Endpoint{Transport: policy.StreamableHTTP, URL: "https://mcp.example", Digest: canonical.Sum("endpoint", nil)},
	}
	for i := range benchTools {
		s.Tools = append(s.Tools, policy.Tool{
			ID: fmt.Sprintf("%s_%02d", s.ID, i), Kind: policy.KindTool, Name: fmt.Sprintf("tool_%02d", i), Definition: canonical.Sum("definition", nil),
			Risk: []policy.Risk{policy.ReadOnly, policy.Write, policy.Destructive}[i%3],
		})
	}
	return s
}

func benchRequest(random *rand.Rand) policy.Request {
	n := random.IntN(benchServers)
	p := &policy.Principal{Issuer: drawnIssuer, Subject: fmt.Sprintf("user-%04d", random.IntN(2000)), Agent: "agent"}
	for range 4 {
		p.Groups = append(p.Groups, fmt.Sprintf("group-%03d", random.IntN(200)))
	}
	return policy.Request{
		Server: fmt.Sprintf("team-%02d/server-%04d", n%50, n), Kind: policy.KindTool, Name: fmt.Sprintf("tool_%02d", random.IntN(benchTools)),
		Principal: p, Now: drawnNoon,
	}
}

func BenchmarkDecision(b *testing.B) {
	ix, allowed := benchIndex(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		ix.Decide(allowed[i%len(allowed)])
	}
}

// BenchmarkDecisionInOPA is what BenchmarkDecision measures, in a stock OPA: the mean of some calls, each measured by
// OPA's own benchmark.
func BenchmarkDecisionInOPA(b *testing.B) {
	ix, allowed := benchIndex(b)
	bundle := bundleOf(b, ix)
	const calls = 4
	var sum float64
	for _, r := range allowed[:calls] {
		sum += opatest.Bench(b, bundle, "data.countersign.decision", asOPA(r))
	}
	b.ReportMetric(sum/calls, "ns/op")
}

func BenchmarkBundle(b *testing.B) {
	ix, _ := benchIndex(b)
	for b.Loop() {
		b.SetBytes(int64(len(bundleOf(b, ix))))
	}
}
