package server

import (
	"encoding/csv"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"countersign/client"
	"countersign/policy"
)

// report sends records of calls, as a gateway does: each is changed from one that was allowed a minute ago.
func (g *edge) report(t *testing.T, changes ...func(*client.CallRecord)) {
	t.Helper()
	batch := client.CallBatch{}
	for i, change := range changes {
		record := client.CallRecord{
			CallID: fmt.Sprintf("%s-%d", t.Name(), i), At: time.Now().Add(-time.Minute - time.Duration(i)*time.Second), Server: orders, Tool: "list_orders", Kind: policy.KindTool,
			Decision: client.AllowedCall, Subject: "tomas", Agent: "release-bot", Model: "llama-<local>", Session: "session-one", TraceID: "4bf92f3577b34da6a3ce929d0e0e4736",
			RequestBytes: 200, ResponseBytes: 4000, RequestTokens: 50, ResponseTokens: 1000, DurationUS: 41_000, UpstreamUS: 40_700,
		}
		change(&record)
		batch.Calls = append(batch.Calls, record)
	}
	g.call(http.MethodPost, "/v1/calls", batch).want(t, http.StatusOK)
}

func asItIs(*client.CallRecord) {}

func deniedCall(r *client.CallRecord) {
	r.Decision, r.Reason, r.Tool, r.Agent, r.UpstreamUS = client.DeniedCall, "rate_limited", "delete_order", "", 0
	r.RequestTokens, r.ResponseTokens, r.Session = 0, 0, ""
}

func TestUsageOfCalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.enrol("edge", "*")
	server, _ := w.register()
	ada, vera, audra, tessa := w.signIn("ada"), w.signIn("vera"), w.signIn("audra"), w.signIn("tessa")
	ada.get("/usage").want(t, http.StatusOK, "No calls in the last 24 hours", "Make the first call")
	vera.get("/usage").want(t, http.StatusOK, "See the servers")

	g.report(t, asItIs, asItIs, deniedCall, func(r *client.CallRecord) { r.Server, r.Model = "com.example/nobody", "" })
	t.Run("totals", func(t *testing.T) {
		t.Parallel()
		ada.get("/usage").want(t, http.StatusOK, "Calls by what became of them", "25 %", "Not priced", `href="/servers/`+server.ID+`/traffic"`, "com.example/nobody", "llama-&lt;local&gt;")
		ada.get("/usage?by=tool&sort=name").want(t, http.StatusOK, `aria-sort="descending"`, "delete_order", "list_orders")
		ada.get("/usage?by=person&server="+url.QueryEscape(orders)).want(t, http.StatusOK, "tomas", "server: "+orders)
		ada.get("/usage?by=model&page=9&span=7d").want(t, http.StatusOK, "Not said")
		ada.get("/usage?from=2026-13-01").want(t, http.StatusOK, "Write a date as 2026-11-22.")
		ada.get("/usage?from=2020-01-02&to=2020-01-01").want(t, http.StatusOK, "It ends before it begins.")
		ada.get("/usage?from=2020-01-01&to=2020-02-01").want(t, http.StatusOK, "No call matches")
		ada.get("/usage?tool=nothing").want(t, http.StatusOK, "No call matches")
	})
	t.Run("nobody is named to those who may not see callers", func(t *testing.T) {
		t.Parallel()
		for _, address := range []string{"/usage?by=person", "/usage?by=agent", "/servers/" + server.ID + "/traffic"} {
			if page := vera.get(address).want(t, http.StatusOK); strings.Contains(page.body, "tomas") {
				t.Errorf("%s names a caller: %s", address, page.shown())
			}
		}
		vera.get("/usage?person=tomas").want(t, http.StatusForbidden)
		vera.get("/usage/calls").want(t, http.StatusOK, "Calls say who made them")
		vera.get("/usage/calls.csv").want(t, http.StatusSeeOther)
		vera.get("/usage/calls?server="+url.QueryEscape(orders)).want(t, http.StatusForbidden)
		tessa.get("/usage/calls").want(t, http.StatusOK, "Calls say who made them")
		tessa.get("/usage/calls?server="+url.QueryEscape(orders)).want(t, http.StatusOK, "tomas") // of a server of her team
		audra.get("/usage/calls").want(t, http.StatusOK, "tomas")
	})
	t.Run("calls", func(t *testing.T) {
		t.Parallel()
		list := ada.get("/usage/calls").want(t, http.StatusOK, "list_orders", "A rate limit was used up.", "through release-bot", "by its own word", "300 µs added", "4bf92f3577b34da6a3ce929d0e0e4736")
		if n := strings.Count(list.body, "about this call"); n != 4 {
			t.Errorf("%d calls are listed, want 4", n)
		}
		denied := ada.get("/usage/calls?decision=denied").want(t, http.StatusOK, "delete_order")
		if strings.Contains(denied.body, "list_orders") {
			t.Error("a filter by decision lists the others, too")
		}
		ada.get("/usage/calls?session=session-one&agent=release-bot").want(t, http.StatusOK, "Of one session", "session: session-one")
		ada.get("/usage/calls?after=rubbish").want(t, http.StatusBadRequest)
		ada.get("/servers/"+server.ID+"/traffic").want(t, http.StatusOK, "Recent calls", "Time that calls take", "tomas", "It may ask clients for nothing, and no call ended")
	})
	t.Run("files", func(t *testing.T) {
		t.Parallel()
		rows, err := csv.NewReader(strings.NewReader(ada.get("/usage.csv?by=model").want(t, http.StatusOK).body)).ReadAll()
		if err != nil || len(rows) != 3 || rows[1][0] != "llama-<local>" || rows[1][10] != "not priced" {
			t.Errorf("%q, %v", rows, err)
		}
		rows, err = csv.NewReader(strings.NewReader(ada.get("/usage/calls.csv").want(t, http.StatusOK).body)).ReadAll()
		if err != nil || len(rows) != 5 || rows[1][7] != "tomas" {
			t.Errorf("%q, %v", rows, err)
		}
		ada.get("/usage.csv?from=x").want(t, http.StatusBadRequest)
	})
}

func TestPricesAreSetChangedAndRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.enrol("edge", "*")
	ada, vera := w.signIn("ada"), w.signIn("vera")
	g.report(t, asItIs, asItIs)
	ada.get("/usage/prices").want(t, http.StatusOK, "No model has a price", "llama-&lt;local&gt;")
	price := url.Values{"model": {"llama-*"}, "currency": {"eur"}, "input": {"x"}, "output": {"15"}}
	vera.post("/usage/prices", price).want(t, http.StatusForbidden)
	ada.post("/usage/prices", price).want(t, http.StatusBadRequest, "Nothing was changed.").wantInvalid(t, "input", "x")
	price.Set("input", "3000")
	ada.post("/usage/prices", price).want(t, http.StatusSeeOther)
	ada.post("/usage/prices", price).want(t, http.StatusConflict, "Nothing was changed.")
	ada.get("/usage?by=model").want(t, http.StatusOK, "6.00 EUR")
	id := read[string](w, `select id from model_prices`)
	changed := url.Values{"model": {"llama-*"}, "currency": {"EUR"}, "input": {"-1"}, "output": {"15"}, "version": {"1"}}
	ada.post("/usage/prices/"+id, changed).want(t, http.StatusBadRequest, `id="input-`+id+`"`, `value="-1"`)
	changed.Set("input", "6000")
	ada.post("/usage/prices/"+id, changed).want(t, http.StatusSeeOther)
	later := url.Values{"model": {"llama-*"}, "currency": {"EUR"}, "input": {"1"}, "output": {"1"}, "from": {"2099-01-01"}}
	ada.post("/usage/prices", later).want(t, http.StatusSeeOther)
	ada.post("/usage/prices", later).want(t, http.StatusConflict, `id="from" name="from" value="2099-01-01" aria-invalid="true"`)
	ada.get("/usage?by=model").want(t, http.StatusOK, "12.00 EUR")
	ada.get("/usage/prices").want(t, http.StatusOK, "Always", "2099-01-01")
	next := read[string](w, `select id from model_prices where valid_from > now()`)
	ada.post("/usage/prices/"+next+"/end", url.Values{"version": {"1"}}).want(t, http.StatusSeeOther)
	ada.post("/usage/prices/"+id+"/end", url.Values{"version": {"1"}}).want(t, http.StatusConflict)
	ada.post("/usage/prices/"+id+"/end", url.Values{"version": {"2"}}).want(t, http.StatusSeeOther)
	ada.get("/usage/prices").want(t, http.StatusOK, "No model has a price")
}

func TestUnknownServersAreListed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.enrol("edge", "*")
	ada, vera := w.signIn("ada"), w.signIn("vera")
	ada.get("/unknown-servers").want(t, http.StatusOK, "Nobody asked for an unknown server")
	g.report(t, func(r *client.CallRecord) {
		r.Server, r.Decision, r.Reason = "com.example/ware<house>", client.DeniedCall, "unknown_server"
	})
	ada.get("/unknown-servers").want(t, http.StatusOK, "ware&lt;house&gt;", "tomas", "/servers/new?name=com.example%2Fware%3Chouse%3E")
	if page := vera.get("/unknown-servers").want(t, http.StatusOK); strings.Contains(page.body, "tomas") || strings.Contains(page.body, "/servers/new?") {
		t.Errorf("a viewer sees who asked, or may register: %s", page.shown())
	}
	ada.get("/servers/new?name=com.example%2Fwarehouse").want(t, http.StatusOK, `value="com.example/warehouse"`)
}
