package registry

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"countersign/client"
	"countersign/desired"
	"countersign/policy"
)

var endOfCentury = time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)

// several draws a few of the values, at least one.
func several[T comparable](values ...T) *rapid.Generator[[]T] {
	return rapid.SliceOfNDistinct(rapid.SampledFrom(values), 1, len(values), rapid.ID)
}

func aSubject() *rapid.Generator[policy.Subject] {
	groups := rapid.Map(several("analysts", "ops", "dev-*"), func(g []string) policy.Subject { return policy.Subject{Groups: g} })
	models := rapid.Map(several("claude-3", "gpt-4"), func(m []string) policy.Subject { return policy.Subject{Models: m, AllowDeclared: true} })
	users := rapid.Map(several("olga", "https://idp.test|vera"), func(u []string) policy.Subject { return policy.Subject{Users: u} })
	return rapid.OneOf(rapid.Just(everyone()), groups, models, users)
}

func aResource() *rapid.Generator[policy.Resource] {
	return rapid.Custom(func(t *rapid.T) policy.Resource {
		r := policy.Resource{Servers: several("com.acme/a", "com.acme/b", "COM.acme/*").Draw(t, "servers")}
		if rapid.Bool().Draw(t, "labelled") {
			r = policy.Resource{Labels: several("env=prod", "env=*").Draw(t, "labels")}
		}
		if rapid.Bool().Draw(t, "named") {
			r.Names = several("get", "de*").Draw(t, "names")
		}
		if rapid.Bool().Draw(t, "risky") {
			r.Risks = several(policy.ReadOnly, policy.Destructive).Draw(t, "risks")
		}
		return r
	})
}

// aSet draws what a company of three teams and three servers could want. Every server is always in it, since one that
// is retired stays so.
func aSet() *rapid.Generator[desired.Set] {
	return rapid.Custom(func(t *rapid.T) (s desired.Set) {
		team := rapid.SampledFrom([]string{"Orders", "Data", "ops"})
		text := rapid.SampledFrom([]string{"", "One line", "Two\nlines: here", `"quoted" #1`, "naïve 日本"})
		for _, name := range []string{"Data", "Ops"} {
			s.Teams = append(s.Teams, desired.Team{Name: name, Groups: several("g1", "g2", "g 3").Draw(t, "groups")})
		}
		for _, name := range []string{"com.acme/a", "com.acme/b", "com.acme/c"} {
			s.Servers = append(s.Servers, desired.Server{
				Name: name, Title: rapid.SampledFrom([]string{"", "Title"}).Draw(t, "title"), Description: text.Draw(t, "description"),
				Team: team.Draw(t, "team"), Labels: several("env=prod", "env=test", "pci").Draw(t, "labels"),
				URL:   rapid.SampledFrom([]string{"", "https://one.example/mcp", "https://two.example/mcp?x=1"}).Draw(t, "url"),
				State: rapid.SampledFrom([]desired.State{"", desired.Active, desired.Suspended}).Draw(t, "state"),
			})
		}
		for _, i := range rapid.SliceOfDistinct(rapid.IntRange(0, 4), rapid.ID).Draw(t, "grants") {
			s.Grants = append(s.Grants, desired.Grant{
				Key: fmt.Sprint("grant.", i), Name: "Grant", For: aSubject().Draw(t, "for"), On: aResource().Draw(t, "on"),
				Until: rapid.SampledFrom([]*time.Time{nil, &endOfCentury}).Draw(t, "until"), Reason: text.Draw(t, "reason"),
			})
		}
		for _, i := range rapid.SliceOfDistinct(rapid.IntRange(0, 3), rapid.ID).Draw(t, "guardrails") {
			g := desired.Guardrail{Key: fmt.Sprint("rail-", i), Name: "Rail", For: aSubject().Draw(t, "for"), On: aResource().Draw(t, "on"), Reason: text.Draw(t, "reason")}
			switch rapid.IntRange(0, 3).Draw(t, "effect") {
			case 0:
				g.Deny = true
			case 1:
				g.MFA = true
			case 2:
				g.RateLimit = &desired.Rate{Calls: 3, Seconds: 90}
			default:
				g.Approval = &desired.Approval{Quorum: 2, Teams: several("Data", "OPS").Draw(t, "teams"), Pending: 600}
				if rapid.Bool().Draw(t, "more") {
					g.Approval.Alternatives = []policy.Approvers{{Quorum: 1, Teams: several("Data", "ops").Draw(t, "alternative")}}
					g.Approval.BreakGlass = &desired.BreakGlass{Teams: several("data", "Ops").Draw(t, "break glass")}
				}
			}
			s.Guardrails = append(s.Guardrails, g)
		}
		return s
	})
}

// TestFilesAndRegistryAgree applies one drawn set after the other: whatever was there, the plan foresees what the policy
// then is, the same files again change nothing, and neither does what is exported, through YAML and back.
func TestFilesAndRegistryAgree(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	offer := tools(tool("get", "Reads.", `"readOnlyHint":true`), tool("delete", "Deletes."))
	servers := []Server{w.register("a", offer), w.register("b", offer)}
	for _, name := range []string{"Data", "Ops"} { // a team that a plan makes has no id to foresee
		_, err := w.CreateTeam(w.ctx, w.admin, NewTeam{Name: name, IDPGroups: []string{"g1"}})
		w.must(err)
	}
	w.register("c", tools(tool("get", "Reads.")))
	for i := range 15 {
		w.lookAndPin(servers, offer)
		set := aSet().Example(i)
		must := func(err error) {
			t.Helper()
			if text, _ := desired.Write(set); err != nil {
				t.Fatalf("set %d: %v\n%s", i, err, text)
			}
		}
		// Server c is proposed: nobody suspends it.
		if set.Servers[2].State == desired.Suspended {
			set.Servers[2].State = ""
		}
		foreseen := w.foresee(set)
		_, err := w.apply(w.admin, set, PlanOptions{Prune: true})
		must(err)
		actual, err := foresee(w.snapshot(w.db.Runtime)).document()
		must(err)
		if changes := policy.Diff(&foreseen, &actual); !changes.Empty() {
			t.Fatalf("set %d: the plan did not foresee %v", i, changes.Words(policy.Wording{}))
		}
		if again := w.plan(set, PlanOptions{Prune: true}); !again.Empty() {
			t.Fatalf("set %d, the same again:\n%s", i, changesOf(again))
		}
		text, err := desired.Write(w.export())
		must(err)
		back, _, err := desired.Read(desired.File{Name: "export.yaml", Data: text})
		must(err)
		if diff := cmp.Diff(w.export(), back); diff != "" {
			t.Fatalf("set %d: %s", i, diff)
		}
		if again := w.plan(back, PlanOptions{Prune: true}); !again.Empty() {
			t.Fatalf("set %d, what was exported:\n%s\n%s", i, changesOf(again), text)
		}
	}
	if n := w.count(`select count(*) from grants where version > 1 and ended_at is null`) + w.events("grant.ended") + w.events("guardrail.changed"); n < 5 {
		t.Errorf("the sets hardly differ: %d changes", n)
	}
}

// foresee is the policy as a plan of the set, with prune, expects it.
func (w *world) foresee(set desired.Set) (d policy.Document) {
	w.t.Helper()
	w.must(pgx.BeginTxFunc(w.ctx, w.db.Runtime, ReadOnly, func(tx pgx.Tx) error {
		now, err := readPresentTx(w.ctx, tx, nil)
		if err != nil {
			return err
		}
		p, err := newPlanner(now, set, PlanOptions{Prune: true})
		if err != nil {
			return err
		}
		snapshot, err := w.SnapshotTx(w.ctx, tx)
		if err != nil {
			return err
		}
		f := foresee(snapshot)
		for _, s := range p.steps {
			s.foresee(f)
		}
		d, err = f.document()
		return err
	}))
	return d
}

// lookAndPin finds and pins everything that servers offer, wherever they are by now.
func (w *world) lookAndPin(servers []Server, offer client.Offer) {
	w.t.Helper()
	for {
		job, ok, err := w.LeaseDiscovery(w.ctx, w.edge, client.LeaseRequest{Instance: "edge-1"})
		w.must(err)
		if !ok {
			break
		}
		w.must(w.Finish(w.ctx, w.edge, job.ID, offer))
	}
	for _, s := range servers {
		w.owner.Teams = []string{w.server(s.ID).TeamID}
		w.pinAll(s)
	}
}
