package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"countersign/identity"
	"countersign/internal/problem"
)

func TestARepeatedRequestIsDoneOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	robot := w.automation(w.team.ID, identity.Viewer)
	body := w.newServer("com.example/once")
	first := robot.call(post, "/v1/servers", body, idempotencyKey, "key-1").want(t, http.StatusCreated)
	if first.header.Get(idempotencyReplayed) != "" {
		t.Error("the first answer calls itself a replay")
	}
	before := w.traces()
	again := robot.call(post, "/v1/servers", body, idempotencyKey, "key-1").want(t, http.StatusCreated)
	if again.body != first.body || again.header.Get(idempotencyReplayed) != "true" {
		t.Errorf("replayed %v: %s\nwant %s", again.header, again.body, first.body)
	}
	for _, name := range []string{"Location", "ETag", "Content-Type"} {
		if first.header.Get(name) == "" || first.header.Get(name) != again.header.Get(name) {
			t.Errorf("%s was %q and is %q", name, first.header.Get(name), again.header.Get(name))
		}
	}
	at := first.header.Get("Location")
	robot.call(post, "/v1/servers", w.newServer("com.example/twice"), idempotencyKey, "key-1").wantProblem(t, http.StatusUnprocessableEntity, "idempotency_key_reused")
	robot.call(patch, at, body, idempotencyKey, "key-1", "If-Match", `"v1"`).wantProblem(t, http.StatusBadRequest, "invalid_json")
	robot.call(patch, at, `{"title":"X"}`, idempotencyKey, "key-1", "If-Match", `"v1"`).wantProblem(t, http.StatusUnprocessableEntity, "idempotency_key_reused")
	if after := w.traces(); after != before {
		t.Errorf("%s became %s", before, after)
	}

	robot.call(patch, at, `{"title":"X"}`, idempotencyKey, "key-2", "If-Match", `"v1"`).want(t, http.StatusOK)
	robot.call(patch, at, `{"title":"X"}`, idempotencyKey, "key-2", "If-Match", `"v1"`).want(t, http.StatusOK) // no 412: it is the same request
	robot.call(patch, at, `{"title":"X"}`, idempotencyKey, "key-2", "If-Match", `"v2"`).wantProblem(t, http.StatusUnprocessableEntity, "idempotency_key_reused")

	refused := robot.call(post, "/v1/servers", body, idempotencyKey, "key-3").wantProblem(t, http.StatusConflict, "server_exists")
	replay := robot.call(post, "/v1/servers", body, idempotencyKey, "key-3")
	if p := replay.wantProblem(t, http.StatusConflict, "server_exists"); p.Detail != refused.Detail || replay.header.Get(idempotencyReplayed) != "true" {
		t.Errorf("a refusal is replayed as %+v", p)
	}
	other := w.automation(w.team.ID) // keys belong to a client
	other.call(post, "/v1/servers", w.newServer("com.example/other"), idempotencyKey, "key-1").want(t, http.StatusCreated)
}

func TestOfManyWithOneKeyOneRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	robot := w.automation(w.team.ID)
	body := w.newServer("com.example/race")
	const many = 12
	answers := make([]answer, many)
	var all sync.WaitGroup
	for i := range many {
		all.Go(func() { answers[i] = robot.call(post, "/v1/servers", body, idempotencyKey, "race") })
	}
	all.Wait()
	ran := 0
	for _, a := range answers {
		switch {
		case a.status == http.StatusConflict:
			a.wantProblem(t, http.StatusConflict, "idempotency_in_progress")
		case a.want(t, http.StatusCreated).header.Get(idempotencyReplayed) == "":
			ran++
		}
	}
	if n := read[int](w, `select count(*) from audit_events where kind = 'server.registered'`); n != 1 || ran != 1 {
		t.Errorf("registered %d times, %d answers are no replay", n, ran)
	}
}

func TestAKeyWhoseOutcomeNobodyKnows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	robot := w.automation(w.team.ID)
	body := w.newServer("com.example/crash")
	robot.call(post, "/v1/servers", body, idempotencyKey, "crash").want(t, http.StatusCreated)
	w.exec(`update idempotency_keys set status = null, body = null, finished_at = null`) // as after a crash
	p := robot.call(post, "/v1/servers", body, idempotencyKey, "crash").wantProblem(t, http.StatusConflict, "idempotency_in_progress")
	if !strings.Contains(p.Detail, "new key") {
		t.Errorf("it does not say what to do: %s", p.Detail)
	}
	w.exec(`update idempotency_keys set created_at = created_at - interval '25 hours'`)
	robot.call(post, "/v1/servers", body, idempotencyKey, "crash").wantProblem(t, http.StatusConflict, "server_exists")
	if n := read[int](w, `select count(*) from idempotency_keys`); n != 1 {
		t.Errorf("%d keys are left", n)
	}
}

func TestARefusalThatMayPassReleasesTheKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	robot := w.automation("", identity.Viewer)
	server, _ := w.register()
	at := "/v1/servers/" + server.ID
	robot.call(patch, at, `{"title":"X"}`, idempotencyKey, "k", "If-Match", `"v1"`).wantProblem(t, http.StatusForbidden, "not_allowed")
	if n := read[int](w, `select count(*) from idempotency_keys`); n != 0 {
		t.Errorf("%d keys are kept", n)
	}
}

func TestKeysAreSwept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	robot := w.automation(w.team.ID)
	w.exec(`insert into idempotency_keys (actor_id, key, request, created_at)
		select 'cli_gone', 'k' || i, sha256('x'), clock_timestamp() - interval '2 days' from generate_series(1, 150) i`)
	for i := range 2 {
		robot.call(post, "/v1/servers", w.newServer(fmt.Sprintf("com.example/s%d", i)), idempotencyKey, fmt.Sprint(i)).want(t, http.StatusCreated)
	}
	if n := read[int](w, `select count(*) from idempotency_keys where actor_id = 'cli_gone'`); n != 0 {
		t.Errorf("%d old keys are left", n)
	}
}

func TestBadKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	robot := w.automation(w.team.ID)
	body := w.newServer("com.example/key")
	w.unchanged(t)
	for _, key := range []string{"", "a b", strings.Repeat("x", 201), "ключ", "a\tb"} {
		robot.call(post, "/v1/servers", body, idempotencyKey, key).wantProblem(t, http.StatusBadRequest, "invalid_idempotency_key")
	}
	robot.call(post, "/v1/servers", body, idempotencyKey, "a", idempotencyKey, "b").wantProblem(t, http.StatusBadRequest, "invalid_idempotency_key")
}

// TestWhatBecomesOfTheKey says for each way in which a request can end whether it may be sent again.
func TestWhatBecomesOfTheKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const released, settled, unknown = "released", "settled", "unknown"
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"done":                              {nil, settled},
		"refused for good":                  {problem.New(problem.Conflict, "x", "x"), settled},
		"refused for now":                   {problem.New(problem.Unavailable, "x", "x"), released},
		"too many":                          {problem.New(problem.RateLimited, "x", "x"), released},
		"not allowed":                       {fmt.Errorf("doing: %w", problem.New(problem.Forbidden, "x", "x")), released},
		"a fault of ours":                   {errors.New("boom"), unknown},
		"the database left":                 {io.ErrUnexpectedEOF, unknown},
		"it took too long":                  {context.DeadlineExceeded, unknown},
		"a problem of ours, said by nobody": {problem.New(problem.Internal, "x", "x"), unknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, gone := context.WithCancel(t.Context())
			r := httptest.NewRequestWithContext(ctx, post, "/v1/servers", http.NoBody)
			r.Header.Set(idempotencyKey, strings.ReplaceAll(name, " ", "-"))
			who := identity.Principal{Kind: identity.Client, ID: "cli_test"}
			answer, err := w.once(w.echo.NewContext(r, httptest.NewRecorder()), who, nil, func(ctx context.Context) (kept, error) {
				gone() // the client, in the middle of it
				if ctx.Err() != nil {
					t.Error("the work ends with its client")
				}
				return kept{Status: http.StatusOK}, c.err
			})
			if (err != nil) != (c.want != settled) {
				t.Errorf("answer %+v, %v", answer, err)
			}
			got := read[string](w, `select coalesce((select case when status is null then 'unknown' else 'settled' end
				from idempotency_keys where actor_id = 'cli_test' and key = $1), 'released')`, r.Header.Get(idempotencyKey))
			if got != c.want {
				t.Errorf("the key is %s, want %s", got, c.want)
			}
		})
	}
}
