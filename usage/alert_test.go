package usage

import (
	"sync"
	"testing"
	"time"

	"countersign/client"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/registry"
)

// open gives the alerts of a state of rules of a kind.
func (w *world) alerts(kind Kind, state string) (found []Alert) {
	w.Helper()
	page, err := w.ledger.Alerts(w.Context(), ida, AlertFilter{State: state})
	w.must(err)
	for _, a := range page.Items {
		if a.Kind == kind {
			found = append(found, a)
		}
	}
	return found
}

// TestEachKindFires makes what each kind looks for happen, and looks from two replicas at once, again and again.
func TestEachKindFires(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, r := range []NewRule{
		{Name: "errors", Kind: ErrorRate, Params: Params{Percent: 50, Calls: 10, Seconds: 300}},
		{Name: "probing", Kind: Denials, Params: Params{Calls: 8, Seconds: 60}},
		{Name: "tokens", Kind: TokensSpent, Params: Params{Tokens: 1000, By: "agent"}},
		{Name: "cost", Kind: CostReached, Params: Params{Amount: "0.01", Currency: "EUR", By: "all"}},
		{Name: "silent", Kind: GatewaySilent, Params: Params{Seconds: 60}, Urgent: true},
		{Name: "unknown", Kind: UnknownAsked, Params: Params{Calls: 3, Seconds: 3600}},
		{Name: "failing", Kind: NotifierFailing, Params: Params{Seconds: 60}},
	} {
		_, err := w.ledger.CreateRule(t.Context(), ada, r)
		w.must(err)
	}
	_, err := w.ledger.SetPrice(t.Context(), ada, NewPrice{Model: "*", Currency: "EUR", Input: "3", Output: "15"})
	w.must(err)
	w.exec(`insert into gateway_instances (gateway_id, instance, last_seen_at) values ('gtw_2', 'i', clock_timestamp() - interval '5 minutes')`)
	w.exec(`insert into channels (id, name, kind, topics, target, secrets, shown, created_by, failing_since)
		values ('chn_1', 'ops', 'webhook', '{alert.fired}', 'x', 'x', 'x', 'test', clock_timestamp() - interval '5 minutes')`)
	w.record(w.times(101)...)
	w.record(w.times(10, func(r *client.CallRecord) { r.Server, r.Decision, r.Session = "com.acme/ill", client.FailedCall, "" })...)
	w.record(w.times(8, func(r *client.CallRecord) {
		r.Decision, r.Reason, r.Subject, r.Session = client.DeniedCall, "no_grant", "eve", ""
	})...)
	w.record(w.times(3, func(r *client.CallRecord) {
		r.Server, r.Decision, r.Reason, r.Session = "com.nobody/x", client.DeniedCall, "unknown_server", ""
	})...)

	other := w.replica(w.db.NewPool(t))
	for range 3 {
		var both sync.WaitGroup
		for _, l := range []*Ledger{w.ledger, other} {
			both.Go(func() {
				if err := l.Look(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
	}
	for kind, about := range map[Kind]string{
		SessionRate: "ses", ErrorRate: "com.acme/ill", Denials: "eve", TokensSpent: "cursor", CostReached: "all", GatewaySilent: "west",
		UnknownAsked: "com.nobody/x", NotifierFailing: "ops",
	} {
		got := w.alerts(kind, "")
		if len(got) != 1 || got[0].AboutName != about || got[0].Times != 1 || got[0].Summary == "" {
			t.Errorf("%s: %+v", kind, got)
		}
	}
	if n := value[int](w, `select count(*) from notices where topic = 'alert.fired'`); n != 8 {
		t.Errorf("%d notices, want one of each", n)
	}
	if n := value[int](w, `select count(*) from notices where data::text like '%eve%'`); n != 0 {
		t.Error("a notice names a caller")
	}
	page, err := w.ledger.Alerts(t.Context(), olga, AlertFilter{})
	w.must(err)
	for _, a := range page.Items {
		if a.Kind == Denials && a.About != "" {
			t.Errorf("an owner of another server is told of %q", a.About)
		}
	}
}

func TestAlertLives(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.record(w.times(101)...)
	w.must(w.ledger.Look(ctx))
	a := w.alerts(SessionRate, "")[0]
	if _, err := w.ledger.Acknowledge(ctx, vera, a.ID); !problem.Is(err, problem.Forbidden) {
		t.Errorf("a viewer: %v", err)
	}
	got, err := w.ledger.Acknowledge(ctx, ada, a.ID)
	if err != nil || got.State != "acknowledged" || got.AcknowledgedByName != "Ada" {
		t.Errorf("%+v, %v", got, err)
	}
	w.now = w.now.Add(time.Second)
	w.record(w.call()) // it happens again: it is counted
	w.must(w.ledger.Look(ctx))
	if got := w.alerts(SessionRate, "")[0]; got.Times != 2 || got.State != "acknowledged" {
		t.Errorf("happened again: %+v", got)
	}
	got, err = w.ledger.Close(ctx, ada, a.ID)
	if err != nil || got.State != "closed" || got.ClosedBy != ada.ID {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := w.ledger.Close(ctx, ada, a.ID); !problem.Is(err, problem.Conflict) {
		t.Errorf("closed again: %v", err)
	}
	w.must(w.ledger.Look(ctx)) // the same burst does not fire again
	if open := w.alerts(SessionRate, ""); len(open) != 0 {
		t.Errorf("fired again: %+v", open)
	}

	w.exec(`update alerts set closed_at = closed_at - interval '1 hour', last_at = last_at - interval '1 hour'`)
	w.must(w.ledger.Look(ctx))
	if len(w.alerts(SessionRate, "")) != 1 {
		t.Fatal("what happened after that did not fire")
	}
	w.exec(`delete from call_records`)
	w.exec(`update alerts set last_at = last_at - interval '10 minutes' where state = 'open'`)
	w.must(w.ledger.Look(ctx))
	if closed := w.alerts(SessionRate, "closed"); len(closed) != 2 || closed[0].ClosedBy != "" {
		t.Errorf("did not close by itself: %+v", closed)
	}
	if n := value[int](w, `select count(*) from notices where topic = 'alert.closed'`); n != 1 {
		t.Errorf("%d times it was told that it is over", n)
	}
}

// TestAlertsEndWithWhatTheyAreAbout ends the channel and revokes the gateway that alerts are open about.
func TestAlertsEndWithWhatTheyAreAbout(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	for _, r := range []NewRule{
		{Name: "silent", Kind: GatewaySilent, Params: Params{Seconds: 60}},
		{Name: "failing", Kind: NotifierFailing, Params: Params{Seconds: 60}},
	} {
		_, err := w.ledger.CreateRule(ctx, ada, r)
		w.must(err)
	}
	w.exec(`insert into gateway_instances (gateway_id, instance, last_seen_at) values ('gtw_2', 'i', clock_timestamp() - interval '5 minutes')`)
	w.exec(`insert into channels (id, name, kind, topics, target, secrets, shown, created_by, failing_since)
		values ('chn_1', 'ops', 'webhook', '{alert.fired}', 'x', 'x', 'x', 'test', clock_timestamp() - interval '5 minutes')`)
	w.must(w.ledger.Look(ctx))
	if open, _, err := w.ledger.OpenAlerts(ctx, ada); err != nil || open != 2 {
		t.Fatalf("%d alerts are open, %v", open, err)
	}
	w.exec(`update channels set ended_at = clock_timestamp(), target = '', secrets = null`)
	w.exec(`update gateways set revoked_at = clock_timestamp()`)
	w.must(w.ledger.Look(ctx))
	for _, kind := range []Kind{GatewaySilent, NotifierFailing} {
		if closed := w.alerts(kind, "closed"); len(closed) != 1 || closed[0].ClosedBy != "" || closed[0].AboutName == closed[0].About {
			t.Errorf("%s: %+v", kind, closed)
		}
	}
	if n := value[int](w, `select count(*) from notices where topic = 'alert.closed'`); n != 2 {
		t.Errorf("%d times it was told that it is over", n)
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	rules, err := w.ledger.Rules(ctx, ida)
	w.must(err)
	if len(rules) != 1 || !rules[0].BuiltIn {
		t.Fatalf("an installation begins with %+v", rules)
	}
	builtIn := rules[0]
	if _, err := w.ledger.EndRule(ctx, ada, builtIn.ID, builtIn.Version); !problem.Is(err, problem.Conflict) {
		t.Errorf("ending a built-in rule: %v", err)
	}
	for _, n := range Suggested() {
		n.Name += " (ours)"
		r, err := w.ledger.CreateRule(ctx, ada, n)
		w.must(err)
		if _, err := w.ledger.ChangeRule(ctx, ada, r.ID, 9, n); !problem.Is(err, problem.Conflict) {
			t.Errorf("a version that nobody saw: %v", err)
		}
		r, err = w.ledger.SwitchRule(ctx, ada, r.ID, r.Version, false)
		if err != nil || !r.Off {
			t.Errorf("%+v, %v", r, err)
		}
		if _, err := w.ledger.EndRule(ctx, ada, r.ID, r.Version); err != nil {
			t.Error(err)
		}
	}
	for field, n := range map[string]NewRule{
		"name":    {Kind: GatewaySilent, Params: Params{Seconds: 60}},
		"kind":    {Name: "x", Kind: "weather"},
		"calls":   {Name: "x", Kind: SessionRate, Params: Params{Seconds: 60}},
		"seconds": {Name: "x", Kind: GatewaySilent, Params: Params{Seconds: 1}},
		"tokens":  {Name: "x", Kind: GatewaySilent, Params: Params{Seconds: 60, Tokens: 1}},
		"amount":  {Name: "x", Kind: CostReached, Params: Params{Amount: "-1", Currency: "EUR", By: "all"}},
		"by":      {Name: "x", Kind: TokensSpent, Params: Params{Tokens: 1000, By: "night"}},
	} {
		if _, err := w.ledger.CreateRule(ctx, ada, n); problem.From(err).Fields[field] == "" {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := w.ledger.CreateRule(ctx, olga, Suggested()[0]); !problem.Is(err, problem.Forbidden) {
		t.Errorf("an owner: %v", err)
	}
}

func TestRecordsAndWhoMaySeeThem(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.record(w.times(5)...)
	var page registry.Page[Record]
	seen := 0
	for {
		var err error
		page, err = w.ledger.Records(ctx, olga, RecordFilter{Filter: Filter{Server: orders}, Session: "ses", Decision: "allowed", GatewayID: "gtw_1"}, page.Next, 2)
		w.must(err)
		seen += len(page.Items)
		if page.Next == "" {
			break
		}
	}
	if seen != 5 || page.Items[0].GatewayName != "edge" || page.Items[0].Duration != 40*time.Millisecond {
		t.Errorf("%d records, the last %+v", seen, page.Items)
	}
	if _, err := w.ledger.Records(ctx, olga, RecordFilter{}, "", 0); !problem.Is(err, problem.Forbidden) {
		t.Errorf("all servers, for an owner of one: %v", err)
	}
	if _, err := w.ledger.Breakdown(ctx, vera, Filter{}, BySubject, 1); !problem.Is(err, problem.Forbidden) {
		t.Errorf("callers, for a viewer: %v", err)
	}
	if _, err := w.ledger.Records(ctx, ida, RecordFilter{}, "nonsense", 0); !problem.Is(err, problem.Invalid) {
		t.Errorf("a cursor: %v", err)
	}
	for _, person := range []identity.Principal{vera, olga} {
		who, named := person.Name, person.Name == "Olga"
		callers, err := w.ledger.CallersOf(ctx, person, orders, "list", w.now.Add(-day))
		if err != nil || callers.Named != named || len(callers.Items) != 1 || (callers.Items[0].Subject == "tomas") != named {
			t.Errorf("%s: %+v, %v", who, callers, err)
		}
		recent, err := w.ledger.RecentCalls(ctx, person, 3)
		if err != nil || len(recent) != 3 || (recent[0].Subject == "tomas") != named {
			t.Errorf("%s: %+v, %v", who, recent, err)
		}
	}
	facts, err := w.ledger.CallsSince(ctx, vera, w.now.Add(-time.Hour))
	if err != nil || facts.Calls != 5 {
		t.Errorf("%+v, %v", facts, err)
	}
	w.record(w.times(2, func(r *client.CallRecord) { r.Server, r.Reason = "com.acme/nosy", "client_request_denied" })...)
	if over, err := w.ledger.Overasked(ctx, vera, "com.acme/nosy", w.now.Add(-time.Hour)); err != nil || over != 2 {
		t.Errorf("%d calls ended because the server asked for more, %v", over, err)
	}
	traffic, err := w.ledger.ServerTraffic(ctx, vera, orders, w.now.Add(-3*day))
	if err != nil || len(traffic.Days) != 4 || traffic.Days[3].Calls != 5 || len(traffic.Tools) != 1 || traffic.Tools[0].P50 != 35*time.Millisecond {
		t.Errorf("%+v, %v", traffic, err)
	}
}

func TestOldRecordsGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.must(w.ledger.keep(ctx))
	w.exec(`select keep_call_records(200)`)
	w.exec(`insert into call_records (call_id, gateway_id, at, server, tool, kind, decision)
		select 'old', 'gtw_1', clock_timestamp() - interval '150 days', 'a/b', 'c', 'tool', 'allowed'`)
	w.exec(`insert into call_records (call_id, gateway_id, at, server, tool, kind, decision)
		select 'c' || n, 'gtw_1', clock_timestamp() - make_interval(days => n), 'a/b', 'c', 'tool', 'allowed' from generate_series(-14, 90) n`)
	w.must(w.ledger.keep(ctx))
	if n := value[int](w, `select count(*) from call_records`); n != 105 {
		t.Errorf("%d records are left, want 105", n)
	}
	if hours, days := value[int](w, `select count(*) from usage_hours`), value[int](w, `select count(*) from usage_days`); days != 106 || hours < 104 || hours > 105 {
		t.Errorf("%d hours and %d days are left", hours, days)
	}
	for _, sql := range []string{`drop table call_records`, `delete from call_records`, `update call_records set tool = ''`, `truncate call_records`} {
		if _, err := w.db.Runtime.Exec(ctx, sql); err == nil {
			t.Errorf("the server may %s", sql)
		}
	}
}
