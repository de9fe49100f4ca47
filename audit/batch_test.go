package audit_test

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/internal/pgtest"
	"countersign/internal/postgres"
)

// Many at once are what they are one by one, in their order.
func TestAppendAll(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	events := make([]audit.Event, 120)
	for i := range events {
		events[i] = audit.Event{
			Kind: "tool.held", Who: ada, TargetKind: "tool", TargetID: fmt.Sprintf("tol_%03d", i), TargetName: `a "name", {with} \ everything`,
			Detail: map[string]any{"nth": i},
		}
	}
	events[7].Who, events[7].Detail = viewer, nil
	appendAll := func(events []audit.Event) error {
		return postgres.InTx(t.Context(), db.Runtime, func(tx pgx.Tx) error { return audit.AppendAll(t.Context(), tx, events) })
	}
	if err := appendAll(nil); err != nil {
		t.Fatal(err)
	}
	if err := appendAll(events); err != nil {
		t.Fatal(err)
	}
	got, err := audit.List(t.Context(), db.Runtime, auditor, audit.Filter{Kind: "tool.held", Limit: 200})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(events) {
		t.Fatalf("%d events", len(got))
	}
	for i, e := range got {
		want := events[len(events)-1-i]
		if e.TargetID != want.TargetID || e.TargetName != want.TargetName || e.ActorID != want.Who.ID || e.IP != want.Who.IP ||
			len(e.Detail) != len(want.Detail) || e.RequestID != want.Who.RequestID {
			t.Errorf("event %d is %+v, want %+v", i, e, want)
		}
	}
	bad := []audit.Event{{Kind: "tool.held", Who: ada}, {Kind: "NOT A KIND", Who: ada}}
	if err := appendAll(bad); err == nil {
		t.Error("a kind that is none was taken")
	}
	bad[1] = audit.Event{Kind: "tool.held", Detail: map[string]any{"x": func() {}}}
	if err := appendAll(bad); err == nil {
		t.Error("a detail that is no JSON was taken")
	}
	if again, _ := audit.List(t.Context(), db.Runtime, auditor, audit.Filter{Kind: "tool.held", Limit: 200}); len(again) != len(events) {
		t.Error("a part of what was refused is there")
	}
}
