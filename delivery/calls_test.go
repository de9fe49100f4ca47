package delivery_test

import (
	"testing"
	"time"

	"countersign/client"
	"countersign/delivery"
	"countersign/identity"
	"countersign/internal/pgtest"
	"countersign/internal/problem"
)

func TestCallRecords(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	ctx := t.Context()
	for _, sql := range []string{
		`insert into audiences (id, name) values ('aud_1', 'local')`,
		`insert into api_clients (id, name, kind, secret_hash) values ('cli_1', 'edge', 'gateway', sha256('x'))`,
		`insert into gateways (id, name, audience_id, client_id, created_by) values ('gtw_1', 'edge', 'aud_1', 'cli_1', '')`,
	} {
		if _, err := db.Owner.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	gateway := identity.Principal{Kind: identity.Gateway, ID: "gtw_1", GatewayID: "gtw_1"}
	record := func(id string, decision client.Decision) client.CallRecord {
		return client.CallRecord{CallID: id, At: time.Now(), Server: "com.example/orders", Tool: "list_orders", Kind: "tool", Decision: decision, Subject: "tomas", Agent: "demo"}
	}
	batch := []client.CallRecord{record("1", client.AllowedCall), record("2", client.DeniedCall), record("3", client.HeldCall)}
	for range 2 { // a batch that is sent again changes nothing
		if err := delivery.RecordCalls(ctx, db.Runtime, gateway, batch); err != nil {
			t.Fatal(err)
		}
	}
	facts, err := delivery.CallsSince(ctx, db.Runtime, time.Now().Add(-time.Hour))
	if want := (delivery.CallFacts{All: 3, Allowed: 1, Denied: 1, Held: 1}); err != nil || facts != want {
		t.Errorf("got %+v, %v; want %+v", facts, err, want)
	}
	recent, err := delivery.RecentCalls(ctx, db.Runtime, 2)
	if err != nil || len(recent) != 2 || recent[0].Server != "com.example/orders" {
		t.Errorf("recent: %+v, %v", recent, err)
	}
	bad := []client.CallRecord{record("4", client.AllowedCall), record("5", "perhaps")}
	if err := delivery.RecordCalls(ctx, db.Runtime, gateway, bad); !problem.Is(err, problem.Invalid) {
		t.Errorf("an unknown decision: %v", err)
	}
	if err := delivery.RecordCalls(ctx, db.Runtime, gateway, []client.CallRecord{record("", client.AllowedCall)}); !problem.Is(err, problem.Invalid) {
		t.Errorf("no id: %v", err)
	}
	if err := delivery.RecordCalls(ctx, db.Runtime, gateway, make([]client.CallRecord, delivery.MaxCalls+1)); !problem.Is(err, problem.TooLarge) {
		t.Errorf("too many: %v", err)
	}
	if err := delivery.RecordCalls(ctx, db.Runtime, identity.Principal{Kind: identity.Person, SessionID: "s"}, batch); !problem.Is(err, problem.Forbidden) {
		t.Errorf("a person: %v", err)
	}
	if facts, _ := delivery.CallsSince(ctx, db.Runtime, time.Now().Add(-time.Hour)); facts.All != 3 {
		t.Errorf("a refused batch left %d records, want 3", facts.All)
	}
}
