package delivery

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"countersign/canonical"
	"countersign/client"
	"countersign/identity"
	"countersign/internal/problem"
)

func TestEnrol(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.build(w.db.Runtime)
	g := w.enrol(r, "edge", "com.acme/*", "com.acme/*", " org.x/y ")
	if g.Secret != "the secret of edge" || g.ClientID == "" || g.Kind != Proxy || g.AudienceName != "edge" || g.CreatedByName != "Ines Roth" ||
		g.Resource != "https://edge.test" || g.State != Offline || !cmp.Equal(g.Servers, []string{"com.acme/*", "org.x/y"}) {
		t.Errorf("enrolled %+v", g)
	}
	join := func(n NewGateway) (Enrolled, error) { return r.Enrol(w.ctx, w.admin, n) }
	second, err := join(NewGateway{Name: "edge 2", Audience: "edge", Kind: Embedded})
	if err != nil || second.AudienceID != g.AudienceID {
		t.Errorf("joined %+v, %v", second, err)
	}
	if _, err := join(NewGateway{Name: "edge 3", Audience: "edge", Servers: []string{"org.x/y", "com.acme/*"}}); err != nil {
		t.Errorf("joining by the same servers: %v", err)
	}
	_, err = join(NewGateway{Name: "edge 4", Audience: "edge", Servers: []string{"*"}})
	wantProblem(t, err, problem.Conflict, "audience_differs")
	_, err = join(NewGateway{Name: "EDGE", Audience: "edge"})
	if p := wantProblem(t, err, problem.Conflict, "gateway_exists"); p.Fields["name"] == "" {
		t.Error("no field error")
	}
	_, err = join(NewGateway{Name: "lonely"})
	if p := wantProblem(t, err, problem.Invalid, "invalid_gateway"); p.Fields["servers"] == "" {
		t.Error("no field error")
	}
	_, err = join(NewGateway{
		Name: "a\u202eb", Kind: "router", Servers: []string{"com.acme/%"}, Resource: "https://me:secret@x.test",
	})
	p := wantProblem(t, err, problem.Invalid, "invalid_gateway")
	for _, field := range []string{"name", "kind", "servers", "resource"} {
		if p.Fields[field] == "" {
			t.Errorf("nothing said of %s: %v", field, p.Fields)
		}
	}
	if n := w.count(`select count(*) from audit_events where kind = 'gateway.enrolled'`); n != 3 {
		t.Errorf("%d events", n)
	}
	if n := w.count(`select count(*) from api_clients`); n != 3 {
		t.Errorf("a refused enrolment left a credential: %d", n)
	}
	machine := w.admin
	machine.SessionID = ""
	_, err = r.Enrol(w.ctx, machine, NewGateway{Name: "x", Servers: []string{"*"}})
	wantProblem(t, err, problem.Forbidden, "interactive_only")
	viewer := identity.Principal{Kind: identity.Person, SessionID: "s", Roles: []identity.Role{identity.Viewer}}
	_, err = r.Enrol(w.ctx, viewer, NewGateway{Name: "x", Servers: []string{"*"}})
	wantProblem(t, err, problem.Forbidden, "not_allowed")
}

func TestRevoke(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.build(w.db.Runtime)
	g := w.enrol(r, "edge", "*")
	revoked, err := r.Revoke(w.ctx, w.admin, g.ID, "stolen")
	if err != nil || revoked.RevokedAt == nil || revoked.RevokedByName != "Ines Roth" {
		t.Errorf("revoked %+v, %v", revoked, err)
	}
	if n := w.count(`select count(*) from api_clients where revoked_at is not null`); n != 1 {
		t.Error("the credential lives on")
	}
	_, err = r.Revoke(w.ctx, w.admin, g.ID, "")
	wantProblem(t, err, problem.Conflict, "gateway_revoked")
	_, err = r.Revoke(w.ctx, w.admin, "gtw_nobody", "")
	wantProblem(t, err, problem.NotFound, "no_such_gateway")
	_, err = r.ReportStatus(w.ctx, principal(g.Gateway), client.Status{Instance: "i"})
	wantProblem(t, err, problem.Forbidden, "gateway_revoked")
	w.enrol(r, "edge") // the name is free again, the audience is there
	live, err := r.Gateways(w.ctx, w.admin, false)
	w.must(err)
	all, err := r.Gateways(w.ctx, w.admin, true)
	w.must(err)
	if len(live) != 1 || len(all) != 2 || all[0].ID != live[0].ID {
		t.Errorf("%d live, %d in all", len(live), len(all))
	}
}

func TestStatusAndRollout(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start()
	g := w.enrol(r, "edge", "*")
	w.offer(r, g.Gateway, "com.acme/orders")
	wanted := w.upTo(r, g.AudienceID, w.generation()).Revision
	command := client.Command{Name: "files", Digest: canonical.Sum("test", []byte("x"))}
	report := func(s client.Status) client.StatusReply {
		t.Helper()
		s.Instance, s.Version, s.Commands = "i1", "1.0\x1b[2J", []client.Command{command}
		reply, err := r.ReportStatus(w.ctx, principal(g.Gateway), s)
		w.must(err)
		return reply
	}
	state := func() InstanceState {
		t.Helper()
		rollout, err := r.Rollout(w.ctx, w.admin)
		w.must(err)
		if rollout.Counts[rollout.Gateways[0].State] != 1 {
			t.Errorf("counts %v", rollout.Counts)
		}
		return rollout.Gateways[0].State
	}
	want := func(what string, want InstanceState) {
		t.Helper()
		if got := state(); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	wake, stop := r.hub.Subscribe(TopicGateways)
	defer stop()
	want("never seen", Offline)
	reply := report(client.Status{Epoch: 1, ActiveRevision: wanted - 1, ReceivedRevision: wanted})
	if reply != (client.StatusReply{GatewayID: g.ID, Name: "edge", AudienceID: g.AudienceID, Resource: "https://edge.test"}) {
		t.Errorf("reply %+v", reply)
	}
	select {
	case <-wake:
	case <-time.After(time.Second):
		t.Error("nobody was told")
	}
	want("earlier revision", Pending)
	report(client.Status{Epoch: 1, ActiveRevision: wanted - 1, Rejected: &client.Rejection{Revision: wanted, Reason: "does not know\x00 it"}})
	want("refused", Rejected)
	report(client.Status{Epoch: 2, ActiveRevision: wanted})
	want("another epoch", Pending)
	report(client.Status{Epoch: 1, ActiveRevision: wanted})
	want("the one wanted", Synced)
	_, err := r.ReportStatus(w.ctx, principal(g.Gateway), client.Status{Instance: "i2", Epoch: 1, ActiveRevision: wanted - 1})
	w.must(err)
	want("one instance is behind", Pending)

	one, err := r.Gateway(w.ctx, w.admin, g.ID)
	w.must(err)
	if len(one.Instances) != 2 || one.Instances[0].Version != "1.0\ufffd[2J" || one.Instances[0].Commands[0] != command || one.Revision != wanted {
		t.Errorf("gateway %+v", one)
	}
	commands, err := r.OfferedCommands(w.ctx, w.admin)
	w.must(err)
	wantCommands := []OfferedCommand{{Name: "files", Digest: command.Digest.String(), Gateways: []string{"edge"}, Servers: []string{"*"}}}
	if diff := cmp.Diff(wantCommands, commands); diff != "" {
		t.Error(diff)
	}

	age := func(interval string) {
		t.Helper()
		_, err := w.db.Runtime.Exec(w.ctx, `update gateway_instances set last_seen_at = clock_timestamp() - $1::interval`, interval)
		w.must(err)
	}
	age("2 min")
	want("silent for 2 min", Offline)
	age("6 min")
	want("silent for longer than the lease", Stale)
	if commands, err := r.OfferedCommands(w.ctx, w.admin); err != nil || len(commands) != 0 {
		t.Errorf("a silent gateway offers %v, %v", commands, err)
	}

	for what, s := range map[string]client.Status{
		"no instance":    {},
		"long instance":  {Instance: strings.Repeat("x", 101)},
		"escape":         {Instance: "\x1b"},
		"negative epoch": {Instance: "i", Epoch: -1},
		"commands":       {Instance: "i", Commands: make([]client.Command, maxCommands+1)},
	} {
		_, err := r.ReportStatus(w.ctx, principal(g.Gateway), s)
		if err == nil {
			t.Errorf("%s was taken", what)
		}
	}
	_, err = r.ReportStatus(w.ctx, w.admin, client.Status{Instance: "i"})
	wantProblem(t, err, problem.Forbidden, "gateway_only")
}
