package audit_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/pgtest"
	"countersign/internal/postgres"
	"countersign/internal/problem"
)

var (
	ada     = identity.Principal{Kind: identity.Person, ID: "per_ada", Name: "Ada Admin", SessionID: "ses_1", Roles: []identity.Role{identity.Admin}, IP: "127.0.0.1", RequestID: "req_1"}
	auditor = identity.Principal{Kind: identity.Person, ID: "per_audra", SessionID: "ses_2", Roles: []identity.Role{identity.Auditor}}
	viewer  = identity.Principal{Kind: identity.Person, ID: "per_tomas", SessionID: "ses_3", Roles: []identity.Role{identity.Viewer}}
)

func write(t *testing.T, db *pgtest.DB, events ...audit.Event) {
	t.Helper()
	err := postgres.InTx(t.Context(), db.Runtime, func(tx pgx.Tx) error {
		for _, e := range events {
			if err := audit.Append(t.Context(), tx, e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAppendAndRead(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	write(t, db, audit.Event{
		Kind: "grant.created", Who: ada, TargetKind: "grant", TargetID: "grt_1", TargetName: "Tomas reads orders",
		Detail: map[string]any{"users": []string{"tomas"}},
	})
	entries, err := audit.List(t.Context(), db.Runtime, auditor, audit.Filter{})
	if err != nil || len(entries) != 1 {
		t.Fatalf("got %d entries, %v", len(entries), err)
	}
	got, err := audit.Get(t.Context(), db.Runtime, auditor, entries[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	want := audit.Entry{
		ID: got.ID, At: got.At, Kind: "grant.created", ActorKind: "person", ActorID: "per_ada", ActorName: "Ada Admin",
		TargetKind: "grant", TargetID: "grt_1", TargetName: "Tomas reads orders",
		Detail: map[string]any{"users": []any{"tomas"}}, IP: "127.0.0.1", RequestID: "req_1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entry (-want +got):\n%s", diff)
	}
	if got.At.IsZero() || time.Since(got.At) > time.Hour {
		t.Errorf("the database did not say when: %v", got.At)
	}
}

func TestNoEventNoChange(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	err := postgres.InTx(t.Context(), db.Runtime, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), `insert into teams (name) values ('Commerce')`); err != nil {
			return err
		}
		return audit.Append(t.Context(), tx, audit.Event{Kind: "not a kind", Who: ada})
	})
	if err == nil {
		t.Fatal("an event that the schema refuses was accepted")
	}
	var teams int
	if err := db.Runtime.QueryRow(t.Context(), `select count(*) from teams`).Scan(&teams); err != nil || teams != 0 {
		t.Fatalf("the change stayed without its event: %d teams, %v", teams, err)
	}
}

func TestEventsStay(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	write(t, db, audit.Event{Kind: "grant.created", Who: ada})
	for _, sql := range []string{`update audit_events set actor_id = 'per_other'`, `delete from audit_events`, `truncate audit_events`} {
		if _, err := db.Runtime.Exec(t.Context(), sql); err == nil {
			t.Errorf("the server's role may: %s", sql)
		}
		if _, err := db.Owner.Exec(t.Context(), sql); err == nil {
			t.Errorf("even the owner is stopped by the trigger, but not at: %s", sql)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	refusal := viewer.Can(identity.ReadAudit, "")
	err := audit.Refused(t.Context(), db.Runtime, audit.Event{Kind: "access.refused", Who: viewer, Detail: map[string]any{"page": "/audit"}}, refusal)
	if !errors.Is(err, refusal) {
		t.Fatalf("got %v, want the refusal", err)
	}
	entries, err := audit.List(t.Context(), db.Runtime, auditor, audit.Filter{Kind: "access.refused"})
	if err != nil || len(entries) != 1 {
		t.Fatalf("got %d entries, %v", len(entries), err)
	}
	if diff := cmp.Diff(map[string]any{"page": "/audit", "refused": "not_allowed"}, entries[0].Detail); diff != "" {
		t.Errorf("detail (-want +got):\n%s", diff)
	}
}

func TestFilterAndPages(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	for range 3 {
		write(t, db, audit.Event{Kind: "grant.created", Who: ada, TargetID: "grt_1", TargetName: "One"})
	}
	write(t, db, audit.Event{Kind: "approval.voted", Who: viewer, TargetID: "apr_1"}, audit.Event{Kind: "grant.ended", Who: ada, TargetID: "grt_2"})
	count := func(f audit.Filter) int {
		t.Helper()
		entries, err := audit.List(t.Context(), db.Runtime, auditor, f)
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	for _, tt := range []struct {
		name string
		f    audit.Filter
		want int
	}{
		{"everything", audit.Filter{}, 5},
		{"one kind", audit.Filter{Kind: "grant.ended"}, 1},
		{"a family of kinds", audit.Filter{Kind: "grant."}, 4},
		{"an actor by id", audit.Filter{Actor: "per_tomas"}, 1},
		{"an actor by name, ignoring case", audit.Filter{Actor: "ada admin"}, 4},
		{"a target by id", audit.Filter{Target: "grt_1"}, 3},
		{"a target by name", audit.Filter{Target: "one"}, 3},
		{"since an hour ago", audit.Filter{From: time.Now().Add(-time.Hour)}, 5},
		{"until an hour ago", audit.Filter{To: time.Now().Add(-time.Hour)}, 0},
		{"nobody", audit.Filter{Actor: "nobody"}, 0},
	} {
		if got := count(tt.f); got != tt.want {
			t.Errorf("%s: got %d entries, want %d", tt.name, got, tt.want)
		}
	}
	first, _ := audit.List(t.Context(), db.Runtime, auditor, audit.Filter{Limit: 2})
	if rest := count(audit.Filter{Before: first[1].ID}); rest != 3 {
		t.Errorf("the second page has %d entries, want 3", rest)
	}
	if line, err := audit.Timeline(t.Context(), db.Runtime, "grt_1", 10); err != nil || len(line) != 3 {
		t.Errorf("timeline: %d entries, %v", len(line), err)
	}
}

func TestOnlyAuditorsRead(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	if _, err := audit.List(t.Context(), db.Runtime, viewer, audit.Filter{}); !problem.Is(err, problem.Forbidden) {
		t.Errorf("a viewer's list: %v", err)
	}
	if _, err := audit.Get(t.Context(), db.Runtime, viewer, 1); !problem.Is(err, problem.Forbidden) {
		t.Errorf("a viewer's entry: %v", err)
	}
	if _, err := audit.Get(t.Context(), db.Runtime, auditor, 4711); !problem.Is(err, problem.NotFound) {
		t.Errorf("an entry that is not there: %v", err)
	}
}
