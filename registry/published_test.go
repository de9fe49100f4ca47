package registry

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"countersign/internal/problem"
)

// published is what a filter selects, as names and versions, with a star at the latest.
func (w *world) published(f PublishedFilter) []string {
	w.t.Helper()
	page, err := w.Published(w.ctx, w.viewer, f)
	w.must(err)
	out := []string{}
	for _, p := range page.Items {
		line := p.Name + " " + p.Version
		if p.Latest {
			line += " *"
		}
		out = append(out, line)
	}
	return out
}

// activate registers a server and pins everything of it.
func (w *world) activate(name string) Server {
	w.t.Helper()
	server := w.register(name, tools(tool("list", "Lists.")))
	w.pinAll(server)
	return w.server(server.ID)
}

func TestPublished(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	begin := time.Now()
	active := w.activate("active")
	w.propose(manifest("com.acme/active", "3.0.0"), manifest("com.acme/proposed", "1.0.0"))
	w.propose(manifest("com.acme/active", "2.0.0"))
	w.must2(w.SetState(w.ctx, w.owner, w.activate("paused").ID, w.byName("com.acme/paused").Version, Suspended, "broken"))
	w.must2(w.SetState(w.ctx, w.owner, w.activate("gone").ID, w.byName("com.acme/gone").Version, Retired, "old"))
	w.must2(w.SetState(w.ctx, w.owner, w.byName("com.acme/proposed").ID, 1, Retired, "not wanted")) // was never published
	w.propose(manifest("com.acme/waiting", "1.0.0"))

	later := time.Now().Add(time.Hour)
	for name, c := range map[string]struct {
		filter PublishedFilter
		want   []string
	}{
		"everything":          {PublishedFilter{}, []string{"com.acme/active 1.0.0", "com.acme/active 2.0.0 *", "com.acme/active 3.0.0", "com.acme/paused 1.0.0 *"}},
		"with the retired":    {PublishedFilter{Retired: true, Version: Latest}, []string{"com.acme/active 2.0.0 *", "com.acme/gone 1.0.0 *", "com.acme/paused 1.0.0 *"}},
		"the latest":          {PublishedFilter{Version: Latest}, []string{"com.acme/active 2.0.0 *", "com.acme/paused 1.0.0 *"}},
		"one version":         {PublishedFilter{Version: "1.0.0"}, []string{"com.acme/active 1.0.0", "com.acme/paused 1.0.0 *"}},
		"part of the name":    {PublishedFilter{Search: "E/PAU"}, []string{"com.acme/paused 1.0.0 *"}},
		"a wildcard is none":  {PublishedFilter{Search: "%"}, []string{}},
		"one server":          {PublishedFilter{Name: "com.acme/paused"}, []string{"com.acme/paused 1.0.0 *"}},
		"spelt differently":   {PublishedFilter{Name: "com.acme/Paused"}, []string{}},
		"one waiting":         {PublishedFilter{Name: "com.acme/waiting"}, []string{}},
		"one never published": {PublishedFilter{Name: "com.acme/proposed", Retired: true}, []string{}},
		"since the beginning": {PublishedFilter{Since: &begin, Version: Latest}, []string{"com.acme/active 2.0.0 *", "com.acme/paused 1.0.0 *"}},
		"since later":         {PublishedFilter{Since: &later}, []string{}},
		"a page":              {PublishedFilter{Limit: 2}, []string{"com.acme/active 1.0.0", "com.acme/active 2.0.0 *"}},
	} {
		if diff := cmp.Diff(c.want, w.published(c.filter)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	all, err := w.PublishedVersions(w.ctx, w.viewer, active.Name, false)
	w.must(err)
	if got := []string{all[0].Version, all[1].Version, all[2].Version}; !slices.Equal(got, []string{"2.0.0", "3.0.0", "1.0.0"}) {
		t.Errorf("published in the order %v", got)
	}
	if first := all[2]; first.Manifest.Name != active.Name || first.URL != "https://orders.acme.example/mcp" || first.TeamName != "Orders" || first.State != Active {
		t.Errorf("%+v", first)
	}
	_, err = w.PublishedVersions(w.ctx, w.viewer, "com.acme/gone", false)
	wantProblem(t, err, problem.NotFound, "no_such_server")
	_, err = w.PublishedVersion(w.ctx, w.viewer, active.Name, "9.9.9", true)
	wantProblem(t, err, problem.NotFound, "no_such_server")
	_, err = w.PublishedVersion(w.ctx, w.viewer, "", "", true)
	wantProblem(t, err, problem.NotFound, "no_such_server")
	latest, err := w.PublishedVersion(w.ctx, w.viewer, active.Name, Latest, false)
	w.must(err)
	if latest.Version != "2.0.0" || latest.PublishedAt.Before(begin) || latest.UpdatedAt.Before(latest.PublishedAt) {
		t.Errorf("%+v", latest)
	}
	_, err = w.Published(w.ctx, w.edge, PublishedFilter{})
	wantProblem(t, err, problem.Forbidden, "not_for_gateways")
	_, err = w.Published(w.ctx, w.viewer, PublishedFilter{After: "ver_none"})
	wantProblem(t, err, problem.Invalid, "invalid_cursor")
}

// TestPublishedPagesWhileServersComeAndGo pages through what was there at the beginning: all of it, each once.
func TestPublishedPagesWhileServersComeAndGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	add := func(name, state string) {
		id := w.insert(`insert into servers (name, team_id, state, created_by) values ($1, $2, $3, 'test') returning id`, name, w.team, state)
		for _, version := range []string{"1.0.0", "1.10.0", "1.9.0"} {
			w.insert(`insert into server_versions (server_id, version) values ($1, $2) returning id`, id, version)
		}
	}
	want := map[string]int{}
	for i := range 90 {
		name := fmt.Sprintf("com.acme/%c%d", 'a'+i*7%26, i)
		add(name, "active")
		for _, version := range []string{"1.0.0", "1.10.0", "1.9.0"} {
			want[name+" "+version] = 1
		}
	}
	got := map[string]int{}
	filter := PublishedFilter{Limit: 7}
	for round := 0; ; round++ {
		page, err := w.Published(w.ctx, w.viewer, filter)
		w.must(err)
		for _, p := range page.Items {
			if p.Manifest.Name != "" {
				t.Errorf("%+v", p.Manifest)
			}
			if _, old := want[p.Name+" "+p.Version]; old {
				got[p.Name+" "+p.Version]++
			}
		}
		if filter.After = page.Next; filter.After == "" {
			break
		}
		add(fmt.Sprintf("com.acme/%c-new-%d", 'a'+round*5%26, round), "active")
		w.must2(w.db.Runtime.Exec(w.ctx, `update servers set changed_at = clock_timestamp() where name like $1`, fmt.Sprintf("com.acme/%%%d", round)))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func (w *world) must2(_ any, err error) {
	w.t.Helper()
	w.must(err)
}

func (w *world) byName(name string) Server {
	w.t.Helper()
	server, err := w.ServerNamed(w.ctx, w.viewer, name)
	w.must(err)
	return server
}
