package delivery

import (
	"testing"

	"countersign/policy"
)

// BenchmarkForesee is what every save of a rule waits for, on a registry of the budget's size.
func BenchmarkForesee(b *testing.B) {
	w, l := benchWorld(b)
	draft := Draft{Grants: []policy.SourceGrant{draftGrant(policy.Subject{Groups: []string{"support"}}, "team-07/*")}}
	for b.Loop() {
		f, err := l.Foresee(w.ctx, w.admin, draft)
		w.must(err)
		if f.Nothing() {
			b.Fatal("nothing is foreseen")
		}
	}
}

// BenchmarkExplainNow explains one call by the registry as it is now, on the same registry.
func BenchmarkExplainNow(b *testing.B) {
	w, l := benchWorld(b)
	question := Question{Request: policy.Request{
		Server: "team-07/server-0007", Name: "tool_03", Principal: &policy.Principal{Subject: "user-0001", Groups: []string{"group-001"}},
	}}
	for b.Loop() {
		_, err := l.Explain(w.ctx, w.admin, question)
		w.must(err)
	}
}

// BenchmarkAccessMatrix is one page of who may call what, on the same registry.
func BenchmarkAccessMatrix(b *testing.B) {
	w, l := benchWorld(b)
	for b.Loop() {
		page, err := l.AccessMatrix(w.ctx, w.admin, AccessFilter{})
		w.must(err)
		if len(page.Items) != defaultRows {
			b.Fatalf("%d subjects", len(page.Items))
		}
	}
}
