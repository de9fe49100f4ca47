package delivery

import (
	"bytes"
	"compress/gzip"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"countersign/internal/problem"
	"countersign/policy"
	"countersign/registry"
)

func TestTwoReplicasServeTheSameBytes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.start(), w.start()
	edge := w.enrol(a, "edge", "com.acme/*")
	w.offer(a, edge.Gateway, "com.acme/orders")
	w.grant(b, "lists", "com.acme/orders")
	generation := w.generation()
	sa, sb := w.upTo(a, edge.AudienceID, generation), w.upTo(b, edge.AudienceID, generation)
	if !bytes.Equal(sa.Document, sb.Document) || !bytes.Equal(sa.Gzip, sb.Gzip) || sa.JWS != sb.JWS || sa.Detached != sb.Detached || sa.ETag != sb.ETag {
		t.Error("the replicas differ")
	}
	if diff := cmp.Diff(sa.Index.Document(), sb.Index.Document(), cmpopts.EquateEmpty()); diff != "" { // one made it, one read it
		t.Errorf("the replicas decide by other documents:\n%s", diff)
	}
	if sa.Revision != generation || sa.Kid != "k1" || sa.PublishedAt.IsZero() {
		t.Errorf("revision %d, kid %s", sa.Revision, sa.Kid)
	}
	if err := policy.Verify(sa.Document, sa.Detached, signingKeys); err != nil {
		t.Error(err)
	}
	if text, err := policy.Open(sb.JWS, signingKeys); err != nil || !bytes.Equal(text, sa.Document) {
		t.Errorf("JWS: %v", err)
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(sa.Gzip))
	w.must(err)
	if text, err := io.ReadAll(unpacked); err != nil || !bytes.Equal(text, sa.Document) {
		t.Errorf("gzip: %v", err)
	}
	verdict := func(s *Snapshot, tool, subject string) policy.Outcome {
		return s.Index.Decide(policy.Request{
			Server: "com.acme/orders", Kind: policy.KindTool, Name: tool, Now: time.Now(),
			Principal: &policy.Principal{Issuer: "https://idp.test", Subject: subject},
		}).Outcome
	}
	if verdict(sb, "list", "tomas") != policy.Allow || verdict(sb, "drop", "tomas") != policy.Hold || verdict(sb, "list", "eve") != policy.Deny {
		t.Error("the policy is not the one that was made")
	}
	if n := w.count(`select count(*) from audit_events where kind = 'policy.published'`); n != w.count(`select count(*) from revisions`) {
		t.Errorf("%d events", n)
	}
}

func TestAnAudienceSeesOnlyItsServers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	all := w.enrol(r, "all", "*")
	edge := w.enrol(r, "edge", "COM.acme/ord*")
	w.offer(r, all.Gateway, "com.acme/Orders")
	w.offer(r, all.Gateway, "com.acme/billing")
	w.grant(r, "billing", "com.acme/billing")
	names := func(s *Snapshot) (got []string) {
		for _, server := range s.Index.Document().Servers {
			got = append(got, server.Name)
		}
		return got
	}
	s := w.upTo(r, all.AudienceID, w.generation())
	if diff := cmp.Diff([]string{"com.acme/billing", "com.acme/Orders"}, names(s)); diff != "" {
		t.Error(diff)
	}
	s = w.upTo(r, edge.AudienceID, w.generation())
	if diff := cmp.Diff([]string{"com.acme/Orders"}, names(s)); diff != "" {
		t.Error(diff)
	}
	if len(s.Index.Document().Grants) != 0 || bytes.Contains(s.Document, []byte("billing")) {
		t.Error("the audience hears of what it may not see")
	}
}

func TestAnUnchangedContentIsNoNewRevision(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	all, edge := w.enrol(r, "all", "*"), w.enrol(r, "edge", "com.acme/orders")
	w.offer(r, all.Gateway, "com.acme/orders")
	before := w.upTo(r, edge.AudienceID, w.generation())
	changed := r.Changed(edge.AudienceID)
	w.offer(r, all.Gateway, "com.acme/billing") // out of its sight
	after := w.upTo(r, edge.AudienceID, w.generation())
	if after.Revision != before.Revision || after.CompiledGeneration <= before.CompiledGeneration || after.ETag != before.ETag {
		t.Errorf("before %d, after %d at %d", before.Revision, after.Revision, after.CompiledGeneration)
	}
	select {
	case <-changed:
		t.Error("long-polls were woken for nothing")
	default:
	}
	g := w.grant(r, "orders", "com.acme/orders")
	select {
	case <-changed:
	case <-time.After(10 * time.Second):
		t.Error("long-polls were not woken")
	}
	granted := w.upTo(r, edge.AudienceID, w.generation())
	_, err := r.registry.EndGrant(w.ctx, w.admin, g.ID, g.Version, "")
	w.must(err)
	back := w.upTo(r, edge.AudienceID, w.generation())
	if back.Revision <= granted.Revision || back.ETag == before.ETag {
		t.Error("going back to an earlier content is not a new revision")
	}
	audience, err := r.Audience(w.ctx, w.admin, edge.AudienceID)
	w.must(err)
	if audience.Revision != back.Revision || audience.Digest != back.Digest || audience.Behind() || audience.Gateways != 1 ||
		audience.Bytes != len(back.Document) || audience.PublishedAt == nil || audience.Kid != "k1" {
		t.Errorf("audience %+v", audience)
	}
	revisions, err := r.Revisions(w.ctx, w.admin, edge.AudienceID, 2)
	w.must(err)
	if len(revisions) != 2 || revisions[0].Revision != back.Revision || revisions[0].Digest != back.Digest {
		t.Errorf("revisions %+v", revisions)
	}
	document, err := r.Document(w.ctx, w.admin, edge.AudienceID, granted.Epoch, granted.Revision)
	if err != nil || !bytes.Equal(document, granted.Document) {
		t.Errorf("document: %v", err)
	}
	_, err = r.Document(w.ctx, w.admin, edge.AudienceID, 7, 7)
	wantProblem(t, err, problem.NotFound, "no_such_revision")
	_, err = r.Audience(w.ctx, w.admin, "aud_nobody")
	wantProblem(t, err, problem.NotFound, "no_such_audience")
}

func TestABrokenRuleKeepsTheOldRevision(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	edge := w.enrol(r, "edge", "*")
	w.offer(r, edge.Gateway, "com.acme/orders")
	before := w.upTo(r, edge.AudienceID, w.generation())
	// A later version of the program wrote a rule that this one does not know.
	id := w.scan(`
		insert into guardrails (name, subject, resource, effect, created_by)
		values ('later', '{"everyone": true}', '{"servers": ["*"]}', '{"mfa": {"minutes": 15}}', 'test') returning id`)
	_, err := w.db.Runtime.Exec(w.ctx, `update registry_head set generation = generation + 1`)
	w.must(err)
	r.hub.Wake(w.ctx, registry.TopicPolicy)
	broken := waitFor(w, "a compile error", func() (Audience, bool) {
		a, err := r.Audience(w.ctx, w.admin, edge.AudienceID)
		w.must(err)
		return a, a.CompileError != ""
	})
	if !strings.Contains(broken.CompileError, id) || !broken.Behind() {
		t.Errorf("audience %+v", broken)
	}
	if s := r.Current(edge.AudienceID); s.Revision != before.Revision {
		t.Errorf("revision %d replaced %d", s.Revision, before.Revision)
	}
	_, _, _, err = r.Evaluate(w.ctx, edge.ID, policy.Request{})
	wantProblem(t, err, problem.Unavailable, "policy_compiling")
	w.grant(r, "another change", "*")
	time.Sleep(200 * time.Millisecond)
	if n := w.count(`select count(*) from audit_events where kind = 'policy.compile_failed'`); n != 1 {
		t.Errorf("the same error is in the log %d times", n)
	}
	_, err = w.db.Runtime.Exec(w.ctx, `update guardrails set ended_at = now() where id = $1`, id)
	w.must(err)
	w.grant(r, "orders", "com.acme/orders")
	after := w.upTo(r, edge.AudienceID, w.generation())
	if len(after.Index.Document().Grants) != 2 {
		t.Errorf("an edit was lost: %d grants", len(after.Index.Document().Grants))
	}
	if a, err := r.Audience(w.ctx, w.admin, edge.AudienceID); err != nil || a.CompileError != "" {
		t.Errorf("the error stays: %q, %v", a.CompileError, err)
	}
}

func waitFor[T any](w *world, what string, look func() (T, bool)) T {
	w.t.Helper()
	for deadline := time.Now().Add(15 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		v, ok := look()
		if ok {
			return v
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestACutOffReplicaGoesStale(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.build(w.db.NewPool(t))
	if r.Fresh() || !r.HeadReadAt().IsZero() {
		t.Error("fresh before it ever looked")
	}
	w.must(r.catchUp(w.ctx))
	if !r.Fresh() || time.Since(r.HeadReadAt()) > 5*time.Second {
		t.Error("not fresh after a look")
	}
	r.late.Store(int64(14 * time.Second))
	if !r.Fresh() {
		t.Error("stale after 14 s")
	}
	r.late.Store(int64(16 * time.Second))
	if r.Fresh() {
		t.Error("fresh after 16 s without a look")
	}
	r.pool.Close()
	if err := r.catchUp(w.ctx); err == nil || r.Fresh() {
		t.Errorf("fresh without a database: %v", err)
	}
}

func TestATamperedRevisionIsNotServed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	edge := w.enrol(r, "edge", "*")
	w.upTo(r, edge.AudienceID, w.generation())
	if _, err := w.db.Runtime.Exec(w.ctx, `update revisions set document = 'x'`); err == nil {
		t.Error("the runtime role changes a revision")
	}
	if _, err := w.db.Owner.Exec(w.ctx, `update revisions set document = 'x'`); err == nil {
		t.Error("the trigger lets a revision change")
	}
	_, err := w.db.Owner.Exec(w.ctx, `alter table revisions disable trigger revisions_append_only`)
	w.must(err)
	_, err = w.db.Owner.Exec(w.ctx, `update revisions set document = replace(encode(document, 'escape'), 'countersign.test', 'countersign.evil')::bytea`)
	w.must(err)
	other := w.build(w.db.NewPool(t))
	if err := other.catchUp(w.ctx); err == nil || other.Current(edge.AudienceID) != nil || other.Fresh() {
		t.Errorf("loaded: %v", err)
	}
}

func TestEvaluate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	edge := w.enrol(r, "edge", "*")
	w.offer(r, edge.Gateway, "com.acme/orders")
	ask := policy.Request{
		Server: "com.acme/orders", Kind: policy.KindTool, Name: "drop", Now: time.Now(),
		Principal: &policy.Principal{Issuer: "https://idp.test", Subject: "tomas"},
	}
	for range 5 { // it never answers from before the last change
		g := w.grant(r, "drops", "com.acme/orders")
		v, generation, s, err := r.Evaluate(w.ctx, edge.ID, ask)
		w.must(err)
		if v.Outcome != policy.Hold || generation < w.generation() || s.CompiledGeneration != generation || v.Approval == nil {
			t.Fatalf("verdict %+v at %d", v, generation)
		}
		_, err = r.registry.EndGrant(w.ctx, w.admin, g.ID, g.Version, "")
		w.must(err)
		v, _, _, err = r.Evaluate(w.ctx, edge.ID, ask)
		w.must(err)
		if v.Outcome != policy.Deny || v.Reason != policy.ReasonNoGrant {
			t.Fatalf("verdict %+v", v)
		}
	}
	_, _, _, err := r.Evaluate(w.ctx, "gtw_nobody", ask)
	wantProblem(t, err, problem.Forbidden, "gateway_revoked")
	_, err = r.Revoke(w.ctx, w.admin, edge.ID, "stolen")
	w.must(err)
	_, _, _, err = r.Evaluate(w.ctx, edge.ID, ask)
	wantProblem(t, err, problem.Forbidden, "gateway_revoked")
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	edge := w.enrol(r, "edge", "*")
	w.offer(r, edge.Gateway, "com.acme/orders")
	codes := func() map[string]int {
		w.upTo(r, edge.AudienceID, w.generation())
		audiences, err := r.Audiences(w.ctx, w.admin)
		w.must(err)
		got := map[string]int{}
		for _, warning := range audiences[0].Warnings {
			got[warning.Code]++
		}
		return got
	}
	if diff := cmp.Diff(map[string]int{}, codes()); diff != "" {
		t.Error(diff)
	}
	_, err := w.db.Runtime.Exec(w.ctx, `update teams set idp_groups = '{}'`)
	w.must(err)
	_, err = r.registry.CreateGuardrail(w.ctx, w.admin, registry.NewGuardrail{
		Name: "Nothing", Subject: policy.Subject{Everyone: true}, Resource: policy.Resource{Servers: []string{"org.nobody/*"}},
		Effect: policy.Effect{Deny: true},
	})
	w.must(err)
	if diff := cmp.Diff(map[string]int{policy.WarnUnapprovable: 1, policy.WarnReachesNothing: 1}, codes()); diff != "" {
		t.Error(diff)
	}
	_, err = w.db.Runtime.Exec(w.ctx, `insert into team_members (team_id, person_id) values ($1, $2)`, w.team, w.admin.ID)
	w.must(err)
	w.grant(r, "a change", "*")
	if diff := cmp.Diff(map[string]int{policy.WarnReachesNothing: 1}, codes()); diff != "" {
		t.Error(diff)
	}
}
