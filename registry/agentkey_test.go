package registry

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

// identities is what a compile would give gateways of agents.
func (w *world) identities() (keys []policy.Key, agents []policy.Agent) {
	w.t.Helper()
	var s Snapshot
	w.must(pgx.BeginTxFunc(w.ctx, w.db.Runtime, ReadOnly, func(tx pgx.Tx) (err error) {
		s, err = w.SnapshotTx(w.ctx, tx)
		return err
	}))
	return s.Keys, s.Agents
}

func (w *world) agent(name string, models ...string) Agent {
	w.t.Helper()
	a, err := w.RegisterAgent(w.ctx, w.admin, NewAgent{Agent: name, OwnerID: w.owner.ID, Models: models})
	w.must(err)
	return a
}

func in(days int) time.Time { return time.Now().AddDate(0, 0, days) }

func TestAgentKeyFromBirthToEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent("nightly")
	generation := w.generation()
	made, err := w.NewAgentKey(w.ctx, w.admin, agent.ID, NewKey{Name: " build farm ", ExpiresAt: in(90)})
	w.must(err)
	if !policy.IsKeyText(made.Secret) || made.Name != "build farm" || made.Shown != made.Secret[len(made.Secret)-4:] || made.CreatedByName != "INES" || made.EndedAt != nil {
		t.Errorf("made %+v", made.AgentKey)
	}
	if w.generation() != generation+1 || w.events("agent.key_created") != 1 {
		t.Error("the policy did not move, or nobody wrote it down")
	}
	want := []policy.Key{{Hash: policy.HashKey(made.Secret), Agent: "nightly", Subject: "agent:nightly", NotAfter: made.ExpiresAt}}
	if keys, _ := w.identities(); !cmp.Equal(want, keys) {
		t.Errorf("published (-want +got):\n%s", cmp.Diff(want, keys))
	}
	if n := w.count(`select count(*) from audit_events where detail::text like '%' || $1 || '%'`, made.Secret[4:20]); n != 0 {
		t.Error("the key is in the log")
	}
	if a, err := w.Agent(w.ctx, w.viewer, agent.ID); err != nil || a.Keys != 1 {
		t.Errorf("%+v %v", a, err)
	}

	_, err = w.EndAgentKey(w.ctx, w.viewer, agent.ID, made.ID, "")
	wantProblem(t, err, problem.Forbidden, "not_allowed")
	_, err = w.EndAgentKey(w.ctx, w.admin, w.agent("other").ID, made.ID, "")
	wantProblem(t, err, problem.NotFound, "no_such_key")
	ended, err := w.EndAgentKey(w.ctx, w.machine(), agent.ID, made.ID, "laptop lost")
	w.must(err)
	if keys, _ := w.identities(); ended.EndedAt == nil || len(keys) != 0 || w.generation() != generation+2 || w.events("agent.key_ended") != 1 {
		t.Errorf("it ended as %+v, and published are %v", ended, keys)
	}
	_, err = w.EndAgentKey(w.ctx, w.admin, agent.ID, made.ID, "")
	wantProblem(t, err, problem.Conflict, "key_ended")
	all, err := w.AgentKeys(w.ctx, w.viewer, agent.ID)
	w.must(err)
	if len(all) != 1 || all[0].ID != made.ID || all[0].EndedAt == nil {
		t.Errorf("listed %+v", all)
	}
}

func TestWhoMakesNoKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent("nightly")
	gone := w.agent("gone")
	_, err := w.EndAgent(w.ctx, w.admin, gone.ID, 1, "")
	w.must(err)
	good := NewKey{Name: "k", ExpiresAt: in(1)}
	for _, who := range []identity.Principal{w.owner, w.viewer, w.machine(), w.edge, {}} {
		if _, err := w.NewAgentKey(w.ctx, who, agent.ID, good); !problem.Is(err, problem.Forbidden) && !problem.Is(err, problem.Unauthenticated) {
			t.Errorf("%s %s makes a key: %v", who.Kind, who.Name, err)
		}
	}
	for name, try := range map[string]struct {
		agent string
		key   NewKey
		kind  problem.Kind
		code  string
	}{
		"of nobody":         {"agt_none", good, problem.NotFound, "no_such_agent"},
		"of an ended agent": {gone.ID, good, problem.Conflict, "agent_ended"},
		"without a name":    {agent.ID, NewKey{ExpiresAt: in(1)}, problem.Invalid, "invalid_key"},
		"with a bad name":   {agent.ID, NewKey{Name: "a\u202eb", ExpiresAt: in(1)}, problem.Invalid, "invalid_key"},
		"for ever":          {agent.ID, NewKey{Name: "k"}, problem.Invalid, "invalid_key"},
		"for too long":      {agent.ID, NewKey{Name: "k", ExpiresAt: in(367)}, problem.Invalid, "invalid_key"},
		"for the past":      {agent.ID, NewKey{Name: "k", ExpiresAt: in(-1)}, problem.Invalid, "invalid_key"},
	} {
		_, err := w.NewAgentKey(w.ctx, w.admin, try.agent, try.key)
		if p := problem.From(err); p.Kind != try.kind || p.Code != try.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.Fresh = func(identity.Principal) error {
		return problem.New(problem.Forbidden, "fresh_signin_required", "Sign in again.")
	}
	_, err = w.NewAgentKey(w.ctx, w.admin, agent.ID, good)
	wantProblem(t, err, problem.Forbidden, "fresh_signin_required")
	w.Fresh = nil
	_, err = w.NewAgentKey(w.ctx, w.admin, agent.ID, good)
	wantProblem(t, err, problem.Forbidden, "fresh_signin_required")
	if n := w.count(`select count(*) from agent_keys`); n != 0 {
		t.Errorf("%d keys were made", n)
	}
}

// TestEndOfAnAgentEndsItsKeys: and another agent of the same client does not inherit them.
func TestEndOfAnAgentEndsItsKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent, other := w.agent("nightly", "claude"), w.agent("other")
	for _, id := range []string{agent.ID, agent.ID, other.ID} {
		_, err := w.NewAgentKey(w.ctx, w.admin, id, NewKey{Name: "k", ExpiresAt: in(1)})
		w.must(err)
	}
	generation := w.generation()
	_, err := w.EndAgent(w.ctx, w.admin, agent.ID, 1, "")
	w.must(err)
	w.agent("nightly")
	keys, agents := w.identities()
	if len(keys) != 1 || keys[0].Agent != "other" || len(agents) != 0 || w.generation() != generation+1 {
		t.Errorf("published %v %v, %d generations on", keys, agents, w.generation()-generation)
	}
}

func TestAnAgentHasNotTooManyKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent("nightly")
	w.must(w.exec(`insert into agent_keys (agent_id, name, hash, shown, created_by, expires_at)
		select $1, 'k' || n, sha256(n::text::bytea), 'abcd', 'test', clock_timestamp() + interval '1 day' from generate_series(1, $2::int) n`, agent.ID, maxKeys-1))
	var wait sync.WaitGroup
	results := make([]error, 4)
	for i := range results {
		wait.Go(func() { _, results[i] = w.NewAgentKey(w.ctx, w.admin, agent.ID, NewKey{Name: "k", ExpiresAt: in(1)}) })
	}
	wait.Wait()
	made := 0
	for _, err := range results {
		if err == nil {
			made++
		} else {
			wantProblem(t, err, problem.Conflict, "too_many_keys")
		}
	}
	if made != 1 {
		t.Errorf("%d keys were made at once, where one had room", made)
	}
	w.must(w.exec(`update agent_keys set created_at = created_at - interval '2 days', expires_at = clock_timestamp() - interval '1 second'`))
	if keys, _ := w.identities(); len(keys) != 0 {
		t.Errorf("%d keys that are over are published", len(keys))
	}
	_, err := w.NewAgentKey(w.ctx, w.admin, agent.ID, NewKey{Name: "k", ExpiresAt: in(1)})
	w.must(err)
}

func TestModelsOfAnAgent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	generation := w.generation()
	agent := w.agent("nightly", " gpt ", "claude", "gpt", "")
	want := []policy.Agent{{Agent: "nightly", Models: []string{"claude", "gpt"}}}
	if _, agents := w.identities(); !cmp.Equal(want, agents) || w.generation() != generation+1 {
		t.Errorf("published %v, %d generations on", agents, w.generation()-generation)
	}
	same, err := w.ChangeAgent(w.ctx, w.admin, agent.ID, 1, NewAgent{Name: "Nightly", OwnerID: w.owner.ID, Models: []string{"gpt", "claude"}})
	w.must(err)
	if same.Name != "Nightly" || w.generation() != generation+1 {
		t.Error("another name moves the policy")
	}
	_, err = w.ChangeAgent(w.ctx, w.admin, agent.ID, 2, NewAgent{Name: "Nightly", OwnerID: w.owner.ID, Models: []string{"claude"}})
	w.must(err)
	if _, agents := w.identities(); w.generation() != generation+2 || agents[0].Models[0] != "claude" || len(agents[0].Models) != 1 {
		t.Errorf("published %v", agents)
	}
	if n := w.count(`select count(*) from audit_events where kind = 'agent.changed' and detail::text like '%claude, gpt%'`); n != 1 {
		t.Error("what changed is not in the log")
	}
	for name, models := range map[string][]string{
		"a pattern": {"claude*"}, "not visible": {"a\u200bb"}, "too long": {strings.Repeat("a", 201)}, "too many": strings.Split(strings.Repeat("a,", 51)+"b", ","),
	} {
		if name == "too many" {
			for i := range models {
				models[i] += strings.Repeat("x", i)
			}
		}
		_, err := w.RegisterAgent(w.ctx, w.admin, NewAgent{Agent: "x", OwnerID: w.owner.ID, Models: models})
		if p := problem.From(err); p.Code != "invalid_agent" || p.Fields["models"] == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}
