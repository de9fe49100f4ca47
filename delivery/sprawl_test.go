package delivery

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/registry"
)

// called stores n call records of a tool, at that many days ago.
func (w *world) called(server, tool string, n int, daysAgo float64, more ...string) {
	w.t.Helper()
	decision, subject := "allowed", "tomas"
	if len(more) > 0 {
		decision = more[0]
	}
	if len(more) > 1 {
		subject = more[1]
	}
	w.insertCalls(`
		insert into call_records (call_id, gateway_id, at, server, tool, kind, decision, subject, agent, model, duration_us)
		select gen_random_uuid()::text, (select min(id) from gateways), clock_timestamp() - make_interval(secs => 86400 * $1::float8), $2, $3, 'tool', $4, $5,
		       'demo', 'm1', 1000 * n
		from generate_series(1, $6::int) n`, daysAgo, server, tool, decision, subject, n)
}

// insertCalls stores call records as old as a year.
func (w *world) insertCalls(sql string, args ...any) {
	w.t.Helper()
	_, err := w.db.Owner.Exec(w.ctx, `select keep_call_records(400)`)
	w.must(err)
	_, err = w.db.Owner.Exec(w.ctx, sql, args...)
	w.must(err)
}

func sorted(words []string) string {
	slices.Sort(words)
	return strings.Join(words, " ")
}

// sprawling is a company with three servers: orders, in use; parcels, of a team without people; and a copy of orders.
func sprawling(t *testing.T) (*world, *replica) {
	t.Helper()
	w := newWorld(t)
	r := w.build(w.db.Runtime)
	g := w.enrol(r, "edge", "com.acme/*").Gateway
	w.offer(r, g, "com.acme/orders")
	team := w.team
	w.team = w.scan(`insert into teams (name) values ('Nobody') returning id`)
	w.offer(r, g, "com.acme/parcels")
	w.team = team
	w.offer(r, g, "com.acme/old")
	_, err := w.db.Owner.Exec(w.ctx, `
		update tools set name = 'track', skeleton = 'track', created_at = clock_timestamp() - interval '100 days'
		where name = 'drop' and server_id = (select id from servers where name = 'com.acme/parcels')`)
	w.must(err)
	w.called("com.acme/orders", "list", 3, 1)
	w.called("com.acme/orders", "list", 2, 95)
	w.called("com.acme/orders", "drop", 1, 91)
	w.called("com.acme/parcels", "list", 1, 2, "denied")
	return w, r
}

func TestSprawl(t *testing.T) {
	t.Parallel()
	w, r := sprawling(t)
	s, err := r.Sprawl(w.ctx, w.admin, SprawlFilter{})
	w.must(err)
	if s.Since == nil || time.Since(*s.Since) < 94*24*time.Hour {
		t.Errorf("recorded since %v", s.Since)
	}
	if want := (SprawlTotals{Servers: 3, NoOwner: 1, Tools: 6, Tokens: s.Totals.Tokens, NeverCalled: 3, Unused: 2, Duplicates: 5}); s.Totals != want {
		t.Errorf("totals %+v, want %+v", s.Totals, want)
	}
	var servers []string
	for _, v := range s.Servers {
		servers = append(servers, fmt.Sprintf("%s of %s: owned %t, %d tools, %d pinned, %d never called, %d unused, %d elsewhere, called %t",
			v.Name, v.TeamName, v.Owned, v.Tools, v.Pinned, v.NeverCalled, v.Unused, v.Duplicates, v.LastCall != nil))
		if v.Tokens < 20 {
			t.Errorf("%s costs %d tokens", v.Name, v.Tokens)
		}
	}
	want := []string{
		"com.acme/old of Orders: owned true, 2 tools, 2 pinned, 2 never called, 0 unused, 2 elsewhere, called false",
		"com.acme/orders of Orders: owned true, 2 tools, 2 pinned, 0 never called, 1 unused, 2 elsewhere, called true",
		"com.acme/parcels of Nobody: owned false, 2 tools, 2 pinned, 1 never called, 1 unused, 1 elsewhere, called true",
	}
	if diff := cmp.Diff(want, servers); diff != "" {
		t.Error(diff)
	}
	last := s.Tools.Items[0].Tokens
	for _, v := range s.Tools.Items {
		if v.Tokens > last || v.Tokens == 0 {
			t.Errorf("%s costs %d tokens, after one of %d", v.Name, v.Tokens, last)
		}
		last = v.Tokens
	}
}

func TestSprawlOfTools(t *testing.T) {
	t.Parallel()
	w, r := sprawling(t)
	for _, test := range []struct {
		filter SprawlFilter
		want   string
	}{
		{SprawlFilter{}, "old/drop old/list orders/drop orders/list parcels/list parcels/track"},
		{SprawlFilter{Show: "no_owner"}, "parcels/list parcels/track"},
		{SprawlFilter{Show: "never_called"}, "old/drop old/list parcels/track"},
		{SprawlFilter{Show: "unused"}, "orders/drop parcels/track"},
		{SprawlFilter{Show: "duplicate"}, "old/drop old/list orders/drop orders/list parcels/list"},
		{SprawlFilter{Query: "TRACK"}, "parcels/track"},
		{SprawlFilter{Query: "orders"}, "orders/drop orders/list"},
		{SprawlFilter{Query: "%"}, ""},
	} {
		s, err := r.Sprawl(w.ctx, w.admin, test.filter)
		w.must(err)
		var got []string
		for _, v := range s.Tools.Items {
			got = append(got, strings.TrimPrefix(v.ServerName, "com.acme/")+"/"+v.Name)
		}
		if diff := cmp.Diff(test.want, sorted(got)); diff != "" {
			t.Errorf("%+v: %s", test.filter, diff)
		}
	}
	s, err := r.Sprawl(w.ctx, w.admin, SprawlFilter{Query: "list"})
	w.must(err)
	for _, v := range s.Tools.Items {
		wantCalls := map[string]int{"com.acme/orders": 3, "com.acme/parcels": 1}[v.ServerName]
		if v.Calls90 != wantCalls || len(v.Duplicates) != 2 || v.TeamName == "" || v.Kind != "tool" || v.Risk != "read_only" || !v.Pinned {
			t.Errorf("%+v", v)
		}
	}
}

func TestSprawlByPages(t *testing.T) {
	t.Parallel()
	w, r := sprawling(t)
	seen, after := map[string]bool{}, ""
	for page := 1; ; page++ {
		s, err := r.Sprawl(w.ctx, w.admin, SprawlFilter{After: after, Limit: 4})
		w.must(err)
		if (len(s.Servers) > 0) != (page == 1) {
			t.Errorf("page %d has %d servers", page, len(s.Servers))
		}
		for _, v := range s.Tools.Items {
			if seen[v.ToolID] {
				t.Errorf("%s is on two pages", v.Name)
			}
			seen[v.ToolID] = true
		}
		if after = s.Tools.Next; after == "" {
			break
		}
	}
	if len(seen) != 6 {
		t.Errorf("%d tools on all pages, want 6", len(seen))
	}
	for _, cursor := range []string{"x", "1", "1.", "x.tol_1"} {
		_, err := r.Sprawl(w.ctx, w.admin, SprawlFilter{After: cursor})
		wantProblem(t, err, problem.Invalid, "invalid_cursor")
	}
	if _, err := r.Sprawl(w.ctx, identity.Principal{}, SprawlFilter{}); !problem.Is(err, problem.Unauthenticated) {
		t.Errorf("nobody: %v", err)
	}
}

// TestSprawlLeavesOut what is retired, or neither offered nor pinned; and is there before anything else is.
func TestSprawlLeavesOut(t *testing.T) {
	t.Parallel()
	w, r := sprawling(t)
	old := w.scan(`select id from servers where name = 'com.acme/old'`)
	_, err := r.registry.SetState(w.ctx, w.admin, old, w.count(`select version from servers where id = $1`, old), registry.Retired, "")
	w.must(err)
	_, err = w.db.Owner.Exec(w.ctx, `update tools set pinned_id = null, observed_digest = null where name = 'track'`)
	w.must(err)
	s, err := r.Sprawl(w.ctx, w.admin, SprawlFilter{})
	w.must(err)
	if s.Totals.Servers != 2 || s.Totals.Tools != 3 || len(s.Tools.Items) != 3 || s.Totals.Duplicates != 2 {
		t.Errorf("%+v", s.Totals)
	}

	empty := newWorld(t)
	s, err = empty.build(empty.db.Runtime).Sprawl(empty.ctx, empty.admin, SprawlFilter{})
	empty.must(err)
	if s.Since != nil || s.Totals != (SprawlTotals{}) || len(s.Tools.Items) != 0 {
		t.Errorf("of nothing: %+v", s)
	}
}
