package delivery

import (
	"runtime"
	"testing"
	"time"

	"countersign/policy"
)

// A registry with a hundred thousand grants is compiled, published and followed like any other, and one more grant that
// another audience does not see publishes nothing there.
func TestAHundredThousandGrants(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.build(w.db.NewPool(t))
	edge, other := w.enrol(r, "edge", "com.acme/*"), w.enrol(r, "other", "org.other/*")
	w.offer(r, edge.Gateway, "com.acme/orders")
	l := leader{Delivery: r.Delivery, failed: map[string]int64{}, all: true}
	w.must(l.step(w.ctx))
	unmoved := w.count(`select revision from audiences where id = $1`, other.AudienceID)
	const many = 100_000
	for n := 0; n < many; n += many / 10 {
		_, err := w.db.Runtime.Exec(w.ctx, `
			insert into grants (name, subject, resource, created_by)
			select 'g' || n, jsonb_build_object('users', array['user' || n]), '{"servers": ["com.acme/orders"], "names": ["list"]}', 'test'
			from generate_series($1::int + 1, $2::int) n`, n, n+many/10)
		w.must(err)
	}
	timed := func(what string, do func()) {
		t.Helper()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		began := time.Now()
		do()
		took := time.Since(began)
		runtime.ReadMemStats(&after)
		t.Logf("%s: %v, %d MB allocated, heap %d MB", what, took.Round(time.Millisecond), (after.TotalAlloc-before.TotalAlloc)>>20, after.HeapAlloc>>20)
	}
	var one string
	timed("one more grant, numbering all", func() { one = w.grant(r, "one more", "com.acme/*").ID })
	timed("the first compile", func() { w.must(l.step(w.ctx)) })
	timed("following", func() { w.must(r.catchUp(w.ctx)) })
	s := r.Current(edge.AudienceID)
	if n := len(s.Index.Document().Grants); n != many+1 {
		t.Errorf("%d grants in force, and %s", n, one)
	}
	t.Logf("the document has %d kB, compressed %d kB", len(s.Document)>>10, len(s.Gzip)>>10)
	verdict := s.Index.Decide(policy.Request{Server: "com.acme/orders", Kind: policy.KindTool, Name: "list", Principal: &policy.Principal{Subject: "user77777"}, Now: time.Now()})
	if verdict.Outcome != policy.Allow {
		t.Errorf("verdict %+v", verdict)
	}
	if revision := w.count(`select revision from audiences where id = $1`, other.AudienceID); revision != unmoved {
		t.Errorf("the other audience went from revision %d to %d", unmoved, revision)
	}
	if a, err := r.Audience(w.ctx, w.admin, other.AudienceID); err != nil || a.Behind() || len(a.Warnings) != 0 {
		t.Errorf("%v: %+v", err, a)
	}
}
