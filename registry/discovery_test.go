package registry

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"countersign/canonical"
	"countersign/client"
	"countersign/identity"
	"countersign/internal/problem"
)

func (w *world) discovery(id string) Discovery {
	w.t.Helper()
	d, err := w.Discovery(w.ctx, w.viewer, id)
	w.must(err)
	return d
}

func TestDiscovery(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server, opened, err := w.Register(w.ctx, w.owner, registration("com.acme/orders", w.team))
	w.must(err)
	if opened.InReach != 0 {
		t.Errorf("%d gateways in reach", opened.InReach)
	}
	_, err = w.db.Runtime.Exec(w.ctx, `insert into gateway_instances (gateway_id, instance) values ($1, 'edge-1'), ($1, 'edge-2')`, w.edge.ID)
	w.must(err)
	_, err = w.RequestDiscovery(w.ctx, w.owner, server.ID)
	wantProblem(t, err, problem.Conflict, "discovery_open")

	job := w.leaseOne()
	want := client.Job{
		ID: opened.ID, ServerID: server.ID, Server: "com.acme/orders", Attempt: 1, LeaseSeconds: 60,
		Endpoint: server.Endpoint.policy(),
	}
	if diff := cmp.Diff(want, job); diff != "" {
		t.Error(diff)
	}
	cancelled, err := w.Progress(w.ctx, w.edge, job.ID, []client.Step{
		{Name: client.StepConnect, State: client.StepDone, MS: 41, Detail: "TLS 1.3\u202e"}, {Name: "x", State: "odd", MS: -1},
	})
	if err != nil || cancelled {
		t.Errorf("progress: %v, %v", cancelled, err)
	}
	d := w.discovery(job.ID)
	if d.State != Running || d.GatewayName != "edge" || d.Instance != "edge-1" || d.InReach != 1 || d.Attempts != 1 ||
		!cmp.Equal(d.Steps, []client.Step{{Name: "connect", State: "done", MS: 41, Detail: "TLS 1.3\ufffd"}, {Name: "x", State: "running"}}) {
		t.Errorf("discovery %+v", d)
	}
	offer := tools(tool("list", "Lists."))
	offer.ServerInfo = json.RawMessage(`{"name":"Orders\u0000","version":"3.2.0","more":{}}`)
	w.must(w.Finish(w.ctx, w.edge, job.ID, offer))
	d = w.discovery(job.ID)
	if d.State != Done || d.Offered != 1 || d.FinishedAt == nil || d.LeasedUntil != nil || d.ServerInfo != (ServerInfo{Name: "Orders\ufffd", Version: "3.2.0"}) {
		t.Errorf("discovery %+v", d)
	}
	wantProblem(t, w.Finish(w.ctx, w.edge, job.ID, offer), problem.Conflict, "discovery_not_yours")
	if w.events("server.discovery_finished") != 1 {
		t.Error("no event")
	}
	all, err := w.Discoveries(w.ctx, w.viewer, server.ID)
	if err != nil || len(all) != 1 || all[0].ID != job.ID {
		t.Errorf("discoveries %v, %v", all, err)
	}
	_, err = w.CancelDiscovery(w.ctx, w.owner, job.ID)
	wantProblem(t, err, problem.Conflict, "discovery_over")
	_, err = w.Discovery(w.ctx, w.viewer, "dis_nobody")
	wantProblem(t, err, problem.NotFound, "no_such_discovery")
}

func TestDiscoveryFailsAndIsTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server, _, err := w.Register(w.ctx, w.owner, registration("com.acme/orders", w.team))
	w.must(err)
	job := w.leaseOne()
	w.must(w.Fail(w.ctx, w.edge, job.ID, client.Failure{
		Error: "connection refused\x1b[2J", Steps: []client.Step{{Name: "connect", State: client.StepFailed}},
	}))
	d := w.discovery(job.ID)
	if d.State != Failed || d.Error != "connection refused\ufffd[2J" || len(d.Steps) != 1 || w.events("server.discovery_failed") != 1 {
		t.Errorf("discovery %+v", d)
	}
	wantProblem(t, w.Fail(w.ctx, w.edge, job.ID, client.Failure{}), problem.Conflict, "discovery_not_yours")

	again, err := w.RequestDiscovery(w.ctx, w.owner, server.ID)
	w.must(err)
	if job = w.leaseOne(); job.ID != again.ID {
		t.Fatalf("leased %s", job.ID)
	}
	_, err = w.CancelDiscovery(w.ctx, w.viewer, again.ID)
	wantProblem(t, err, problem.Forbidden, "not_allowed")
	_, err = w.CancelDiscovery(w.ctx, w.owner, again.ID)
	w.must(err)
	cancelled, err := w.Progress(w.ctx, w.edge, again.ID, nil)
	if err != nil || !cancelled {
		t.Errorf("the gateway does not hear of the cancellation: %v, %v", cancelled, err)
	}
	wantProblem(t, w.Finish(w.ctx, w.edge, again.ID, tools()), problem.Conflict, "discovery_not_yours")
	if len(w.tools(server.ID)) != 0 {
		t.Error("a cancelled discovery was used")
	}
}

func TestLeaseRunsOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, opened, err := w.Register(w.ctx, w.owner, registration("com.acme/orders", w.team))
	w.must(err)
	rewind := func() {
		t.Helper()
		_, err := w.db.Owner.Exec(w.ctx, `
			update discoveries set leased_until = leased_until - interval '2 min', not_before = not_before - interval '2 min'`)
		w.must(err)
	}
	for attempt := 1; attempt <= 3; attempt++ {
		job := w.leaseOne()
		if job.Attempt != attempt {
			t.Errorf("attempt %d, want %d", job.Attempt, attempt)
		}
		rewind()
		w.must(w.Sweep(w.ctx))
		d := w.discovery(opened.ID)
		if attempt < 3 && (d.State != Waiting || time.Until(d.NotBefore) < time.Duration(attempt)*3*time.Second) {
			t.Errorf("after attempt %d: %s, not before %s", attempt, d.State, d.NotBefore)
		}
		if _, ok, err := w.LeaseDiscovery(w.ctx, w.edge, client.LeaseRequest{}); ok || err != nil {
			t.Errorf("leased at once: %v", err)
		}
		rewind()
	}
	d := w.discovery(opened.ID)
	if d.State != Failed || d.Error == "" || d.FinishedAt == nil || w.events("server.discovery_failed") != 1 {
		t.Errorf("discovery %+v", d)
	}
}

func TestOneLeaseForEachJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const jobs = 5
	for i := range jobs {
		_, _, err := w.Register(w.ctx, w.owner, registration(fmt.Sprintf("com.acme/s%d", i), w.team))
		w.must(err)
	}
	other := w.gateway("other", "*")
	var mu sync.Mutex
	leased := map[string]int{}
	var wg sync.WaitGroup
	for i := range 4 * jobs {
		who := w.edge
		if i%2 == 0 {
			who = other
		}
		wg.Go(func() {
			job, ok, err := w.LeaseDiscovery(w.ctx, who, client.LeaseRequest{})
			if err != nil {
				t.Error(err)
			}
			if ok {
				mu.Lock()
				defer mu.Unlock()
				leased[job.ID]++
			}
		})
	}
	wg.Wait()
	for id, n := range leased {
		if n != 1 {
			t.Errorf("%s was leased %d times", id, n)
		}
	}
	if len(leased) != jobs {
		t.Errorf("%d of %d jobs were leased", len(leased), jobs)
	}
}

func TestWhoMayLease(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	lease := func(who identity.Principal, commands ...client.Command) (bool, error) {
		_, ok, err := w.LeaseDiscovery(w.ctx, who, client.LeaseRequest{Commands: commands})
		return ok, err
	}
	want := func(what string, want bool, who identity.Principal, commands ...client.Command) {
		t.Helper()
		if ok, err := lease(who, commands...); ok != want || err != nil {
			t.Errorf("%s: leased %v, %v", what, ok, err)
		}
	}
	r := registration("com.acme/files", w.team)
	r.Location = Location{Transport: Stdio, Command: "files", CommandDigest: someDigest.String()}
	server, _, err := w.Register(w.ctx, w.owner, r)
	w.must(err)
	if server.Endpoint.CommandDigest != someDigest.String() {
		t.Errorf("endpoint %+v", server.Endpoint)
	}
	command := client.Command{Name: "files", Digest: someDigest}
	far := w.gateway("far", "org.other/*", "com.acme/file_")
	gone := w.gateway("gone", "*")
	_, err = w.db.Runtime.Exec(w.ctx, `update gateways set revoked_at = now() where id = $1`, gone.ID)
	w.must(err)
	want("outside the audience", false, far, command)
	want("revoked", false, gone, command)
	want("without the command", false, w.edge)
	want("another digest", false, w.edge, client.Command{Name: "files", Digest: canonical.Sum("test", nil)})
	want("another name", false, w.edge, client.Command{Name: "file", Digest: someDigest})
	want("with it", true, w.edge, client.Command{Name: "x"}, command)
	_, err = lease(w.admin)
	wantProblem(t, err, problem.Forbidden, "gateway_only")
}

func TestLeaseWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	got := make(chan client.Job)
	go func() {
		job, _, err := w.LeaseDiscovery(w.ctx, w.edge, client.LeaseRequest{Wait: 30})
		if err != nil {
			t.Error(err)
		}
		got <- job
	}()
	time.Sleep(50 * time.Millisecond)
	_, d, err := w.Register(w.ctx, w.owner, registration("com.acme/orders", w.team))
	w.must(err)
	select {
	case job := <-got:
		if job.ID != d.ID {
			t.Errorf("leased %q", job.ID)
		}
	case <-time.After(10 * time.Second):
		t.Error("the gateway was not woken")
	}
}

func TestOffersThatCannotBeRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	many := make([]json.RawMessage, 10_000)
	for i := range many {
		many[i] = tool(fmt.Sprintf("t%d", i), "d")
	}
	big := tool("big", strings.Repeat("x", MaxDefinitionBytes))
	huge := make([]json.RawMessage, 70)
	for i := range huge {
		huge[i] = tool(fmt.Sprintf("t%d", i), strings.Repeat("x", 250<<10))
	}
	var n atomic.Int32
	for what, test := range map[string]struct {
		offer client.Offer
		kind  problem.Kind
		code  string
		says  string
	}{
		"10,000 tools":       {tools(many...), problem.TooLarge, "offer_too_large", "10000"},
		"17 MiB":             {tools(huge...), problem.TooLarge, "offer_too_large", "16 MiB"},
		"a huge description": {tools(tool("ok", "d"), big), problem.Invalid, "offer_unreadable", "256 KiB"},
		"not JSON":           {tools(json.RawMessage(`{"name":`)), problem.Invalid, "offer_unreadable", "tool 1"},
		"duplicate key":      {tools(json.RawMessage(`{"name":"a","name":"b"}`)), problem.Invalid, "offer_unreadable", "tool 1"},
		"an array":           {tools(json.RawMessage(`["name"]`)), problem.Invalid, "offer_unreadable", "no name"},
		"no name":            {tools(json.RawMessage(`{"title":"a"}`)), problem.Invalid, "offer_unreadable", "no name"},
		"NUL in the name":    {tools(json.RawMessage(`{"name":"a\u0000"}`)), problem.Invalid, "offer_unreadable", "no name"},
		"a name twice":       {tools(tool("a", "1"), tool("b", "2"), tool("a", "1")), problem.Invalid, "offer_unreadable", `"a" is offered 2 times`},
		"a URI twice": {client.Offer{
			Resources:         []json.RawMessage{json.RawMessage(`{"uri":"x:a"}`)},
			ResourceTemplates: []json.RawMessage{json.RawMessage(`{"uriTemplate":"x:a"}`)},
		}, problem.Invalid, "offer_unreadable", "2 times"},
	} {
		server, d, err := w.Register(w.ctx, w.owner, registration(fmt.Sprintf("com.acme/s%d", n.Add(1)), w.team))
		w.must(err)
		p := wantProblem(t, w.Finish(w.ctx, w.edge, w.leaseOne().ID, test.offer), test.kind, test.code)
		got := w.discovery(d.ID)
		if got.State != Failed || got.Error != p.Message || !strings.Contains(p.Message, test.says) {
			t.Errorf("%s: discovery is %s, says %q", what, got.State, got.Error)
		}
		if pinned := w.server(server.ID).Pinned; pinned != 0 {
			t.Errorf("%s: %d pinned", what, pinned)
		}
	}
	if n := w.events("server.discovery_failed"); n != 10 {
		t.Errorf("%d events", n)
	}
}

func TestThousandsOfTools(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	many := make([]json.RawMessage, MaxItems)
	for i := range many {
		many[i] = tool(fmt.Sprintf("t%04d", i), "d")
	}
	started := time.Now()
	s := w.register("orders", tools(many...))
	t.Logf("discovery of %d tools: %s", MaxItems, time.Since(started))
	started = time.Now()
	w.observe(s.ID, false, many...)
	t.Logf("unchanged observation: %s", time.Since(started))
	if s.Offered != MaxItems || s.Pending != MaxItems {
		t.Errorf("server %+v", s.Counts)
	}
}
