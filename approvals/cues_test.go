package approvals

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"countersign/identity"
	"countersign/policy"
)

func (w *world) detail(who identity.Principal, r Request) Detail {
	w.t.Helper()
	d, err := w.queue.Detail(context.Background(), who, r.ID)
	if err != nil {
		w.t.Fatalf("Detail: %v", err)
	}
	return d
}

// asked sets when a request was asked for.
func (w *world) asked(r Request, at string) {
	w.t.Helper()
	w.exec(`update approvals set created_at = $2::timestamptz where id = $1`, r.ID, at)
}

func TestCues(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.ask(w.call("a first one"))
	w.asked(first, "2026-11-20 13:00Z")
	if got := w.detail(w.ada, first).Cues; !got.FirstByCaller || !got.FirstOfTool || got.Similar != 1 || !got.OffHours.IsZero() || got.PinnedAt != nil {
		t.Errorf("the first call: %+v", got)
	}
	for i := range fewRequests {
		w.asked(w.ask(w.call(i)), "2026-11-20 14:0"+string(rune('0'+i))+"Z")
	}
	large := w.ask(w.call(strings.Repeat("x", 200)))
	w.asked(large, "2026-11-20 14:09:30Z")
	got := w.detail(w.ada, large).Cues
	if got.FirstByCaller || got.FirstOfTool || got.Similar != fewRequests+1 {
		t.Errorf("one of many: %+v", got)
	}
	if !got.Unusual || got.Usual < 10 || got.Usual > 30 {
		t.Errorf("200 bytes after a dozen of 11: %+v", got)
	}
	w.exec(`update definitions set decided_at = '2026-11-19 12:00Z'`)
	w.asked(first, "2026-11-20 02:13Z")
	got = w.detail(w.ada, first).Cues
	if got.OffHours.Format("15:04 MST") != "02:13 UTC" || got.PinnedAt == nil {
		t.Errorf("at night, the day after the tool changed: %+v", got)
	}
	w.exec(`insert into usage_days (at, server, tool, kind, subject, agent, model, calls, allowed, denied, held, failed, errors, request_tokens, response_tokens,
		    request_bytes, response_bytes, duration_us, upstream_us, added_us, took, added, last_at)
		values ('2026-11-19', 'com.example/orders', 'delete_orders', 'tool', 'tomas', '', '', 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		    array_fill(0, '{19}'), array_fill(0, '{19}'), '2026-11-19 12:00Z')`)
	if got := w.detail(w.ada, first).Cues; got.FirstByCaller || got.FirstOfTool {
		t.Errorf("a call that needed nobody: %+v", got)
	}
	w.exec(`update definitions set decided_at = '2026-11-01 12:00Z'`)
	w.queue.cfg.Location = time.FixedZone("CET", 3600)
	w.asked(first, "2026-11-20 06:30Z")
	if got := w.detail(w.ada, first).Cues; !got.OffHours.IsZero() || got.PinnedAt != nil {
		t.Errorf("half past seven in the morning, long after: %+v", got)
	}
}

func TestPrevious(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	call := func(arguments string) policy.Call {
		c := w.call(0)
		c.Arguments = json.RawMessage(arguments)
		return c
	}
	before := w.vote(w.ada, w.ask(call(`{"a":{"b":[1,2,3],"gone":"x"},"same":1,"n":1}`)), Approve)
	r := w.ask(call(`{"a":{"b":[1,5],"new":null},"same":1,"n":1.5}`))
	got := w.detail(w.ada, r).Previous
	if got == nil || got.ID != before.ID || !got.SameCaller || !got.SameAgent || got.DecidedBy != "Ada" {
		t.Fatalf("got %+v", got)
	}
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	want := []Change{
		{Path: []string{"a", "b", "1"}, Before: raw(`2`), After: raw(`5`)},
		{Path: []string{"a", "b", "2"}, Before: raw(`3`)},
		{Path: []string{"a", "gone"}, Before: raw(`"x"`)},
		{Path: []string{"a", "new"}, After: raw(`null`)},
		{Path: []string{"n"}, Before: raw(`1`), After: raw(`1.5`)},
	}
	if d := cmp.Diff(want, got.Changes); d != "" {
		t.Errorf("the changes (-want +got):\n%s", d)
	}
	w.exec(`update approvals set caller_subject = 'lea', caller_name = '' where id = $1`, before.ID)
	if got := w.detail(w.ada, r).Previous; got == nil || got.SameCaller || got.CallerName != "lea" {
		t.Errorf("of another caller: %+v", got)
	}
	var many Previous
	many.compare(nil, raw(`[`+strings.Repeat(`0,`, 150)+`0]`), raw(`[`+strings.Repeat(`1,`, 150)+`1]`))
	if len(many.Changes) != mostChanges || many.More != 51 {
		t.Errorf("%d changes and %d more", len(many.Changes), many.More)
	}
	w.vote(w.ada, r, Deny)
	if got := w.detail(w.ada, w.ask(call(`{"a":1}`))).Previous; got == nil || got.ID != before.ID {
		t.Errorf("a denied call is no example: %+v", got)
	}
}

func TestWays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exec(`insert into team_members (team_id, person_id) values ('tem_other', 'per_eve')`)
	w.change(func(l *law) {
		l.approval = policy.Approval{
			Quorum: 2, DenyQuorum: 1, OwningTeam: true, Alternatives: []policy.Approvers{{Quorum: 3, Teams: []string{"tem_other"}}},
			Fallback: &policy.Fallback{AfterSeconds: 600, Quorum: 1, Teams: []string{"tem_other"}},
			Scope:    &policy.Scope{MaxUses: 3, MaxSeconds: 600, Free: []string{"order"}},
			StepUp:   &policy.StepUp{MaxAgeSeconds: 0, MFA: false},
		}
	})
	r := w.vote(w.eve, w.vote(w.ada, w.ask(w.call(1)), Approve), Approve)
	d := w.detail(w.grace, r)
	want := []Way{{Teams: []string{"Orders"}, Quorum: 2, Votes: 1}, {Teams: []string{"Other"}, Quorum: 3, Votes: 1}}
	if diff := cmp.Diff(want, d.Ways); diff != "" {
		t.Errorf("the ways (-want +got):\n%s", diff)
	}
	if d.Fallback == nil || d.Fallback.Asked || d.Fallback.At.Sub(d.CreatedAt).Round(time.Second) != 10*time.Minute || d.Fallback.Teams[0] != "Other" {
		t.Errorf("the fallback: %+v", d.Fallback)
	}
	if diff := cmp.Diff(&Scope{Uses: 3, Within: 10 * time.Minute, Free: []string{"order"}}, d.MostScope); diff != "" {
		t.Errorf("the scope (-want +got):\n%s", diff)
	}
	w.exec(`update approvals set escalated_at = clock_timestamp(), escalate_at = null where id = $1`, r.ID)
	if d := w.detail(w.grace, r); d.Fallback == nil || !d.Fallback.Asked || d.Fallback.Votes != 1 || len(d.Ways) != 2 {
		t.Errorf("once it was asked: %+v, %+v", d.Ways, d.Fallback)
	}
}

// A view is recorded once, of those who may decide, while there is something to decide.
func TestView(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.ask(w.call(1))
	see := func(who ...identity.Principal) {
		t.Helper()
		for _, p := range who {
			if err := w.queue.View(t.Context(), p, r.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	see(w.ada, w.ada, w.tomas, w.eve, w.gateway)
	if got := read[string](w, `select string_agg(person_id, ' ') from approval_views`); got != "per_ada" {
		t.Errorf("seen by %s", got)
	}
	w.vote(w.ada, r, Deny)
	see(w.grace)
	if got := read[int](w, `select count(*) from approval_views`); got != 1 {
		t.Errorf("%d views of what is decided", got)
	}
	if err := w.queue.View(t.Context(), w.ada, "\x00"); err != nil {
		t.Errorf("an id that is no text: %v", err)
	}
}
