package server

import (
	"encoding/csv"
	"net/http"
	"strings"
	"testing"

	"countersign/registry"
)

func TestACellIsNoFormula(t *testing.T) {
	t.Parallel()
	for cell, want := range map[string]string{
		"": "", "orders": "orders", "12": "12", "a=b": "a=b", " =1": " =1", "'quoted": "'quoted",
		"=1+1": "'=1+1", `=HYPERLINK("http://evil.example")`: `'=HYPERLINK("http://evil.example")`, "+1": "'+1", "-1": "'-1", "@SUM(A1)": "'@SUM(A1)",
		"\t=1": "'\t=1", "\r=1": "'\r=1", "\n=1": "'\n=1", "＝1": "'＝1",
	} {
		if got := cellText(cell); got != want {
			t.Errorf("%q became %q, want %q", cell, got, want)
		}
	}
}

func TestTheListOfServersAsAFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, n := range []registry.Registration{
		{Name: "com.example/orders", Title: `=cmd|' /C calc'!A0`, Labels: []string{"env=prod"}},
		{Name: "com.example/refunds", Title: `Say "refund", please`},
	} {
		n.TeamID, n.Location = w.team.ID, registry.Location{Transport: registry.StreamableHTTP, URL: "http://127.0.0.1:1/" + n.Name}
		_, _, err := w.registry.Register(t.Context(), installer, n)
		must(t, err)
	}
	vera := w.signIn("vera")
	a := vera.get("/servers.csv").want(t, http.StatusOK)
	if a.header.Get("Content-Type") != "text/csv; charset=utf-8" || !strings.HasPrefix(a.header.Get("Content-Disposition"), "attachment;") {
		t.Errorf("headers %v", a.header)
	}
	rows, err := csv.NewReader(strings.NewReader(a.body)).ReadAll()
	must(t, err)
	if len(rows) != 3 || rows[1][1] != `'=cmd|' /C calc'!A0` || rows[2][1] != `Say "refund", please` || rows[1][4] != "env=prod" || rows[1][3] != "Commerce" {
		t.Errorf("rows %q", rows)
	}
	filtered := vera.get("/servers.csv?q=refunds&state=proposed").want(t, http.StatusOK, "com.example/refunds")
	if strings.Contains(filtered.body, "com.example/orders") {
		t.Errorf("the filter is not heeded: %s", filtered.body)
	}
	page := vera.get("/servers?q=refunds").want(t, http.StatusOK, `href="/servers.csv?q=refunds"`)
	if strings.Contains(page.body, "com.example/orders") {
		t.Error("the page heeds no filter")
	}
}
