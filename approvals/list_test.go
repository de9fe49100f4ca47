package approvals

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

func ids(page Page) (out []string) {
	for _, s := range page.Items {
		out = append(out, s.ID)
	}
	return out
}

func TestListQueueByDeadline(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var requests []Request
	for i := range 5 {
		requests = append(requests, w.ask(w.call(i)))
	}
	for i, minutes := range []int{30, 10, 20, 0, 10} { // the third is over, two are equal
		w.exec(`update approvals set expires_at = date_trunc('minute', clock_timestamp()) + make_interval(mins => $2) where id = $1`, requests[i].ID, minutes)
	}
	first, second := requests[1].ID, requests[4].ID
	if first > second {
		first, second = second, first
	}
	want := []string{first, second, requests[2].ID, requests[0].ID}
	var got []string
	filter := Filter{Waiting: true, Limit: 3}
	for range 2 {
		page, err := w.queue.List(t.Context(), w.ada, filter)
		if err != nil {
			t.Fatal(err)
		}
		got, filter.After = append(got, ids(page)...), page.Next
	}
	if d := cmp.Diff(want, got); d != "" || filter.After != "" {
		t.Errorf("two pages of the queue (-want +got), next %q:\n%s", filter.After, d)
	}
}

func TestListHistory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	denied := w.vote(w.ada, w.ask(w.call("denied")), Deny)
	approved := w.vote(w.grace, w.ask(w.call("approved")), Approve)
	pending := w.ask(w.call("pending"))
	list := func(f Filter) []string {
		t.Helper()
		page, err := w.queue.List(t.Context(), w.ada, f)
		if err != nil {
			t.Fatal(err)
		}
		return ids(page)
	}
	for name, test := range map[string]struct {
		filter Filter
		want   []string
	}{
		"everything":           {Filter{}, []string{pending.ID, approved.ID, denied.ID}},
		"by state":             {Filter{States: []State{Denied, Approved}}, []string{approved.ID, denied.ID}},
		"by server":            {Filter{ServerID: server}, []string{pending.ID, approved.ID, denied.ID}},
		"by another server":    {Filter{ServerID: "srv_none"}, nil},
		"by the caller":        {Filter{Caller: "tomas", States: []State{Denied}}, []string{denied.ID}},
		"by the caller's name": {Filter{Caller: "tomas LIND", States: []State{Denied}}, []string{denied.ID}},
		"by another caller":    {Filter{Caller: "ada"}, nil},
		"what I may decide":    {Filter{MayDecide: true}, []string{pending.ID}},
	} {
		if d := cmp.Diff(test.want, list(test.filter)); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
	page, err := w.queue.List(t.Context(), w.ada, Filter{Limit: 2})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{denied.ID}, list(Filter{Limit: 2, After: page.Next})); d != "" {
		t.Errorf("the second page (-want +got):\n%s", d)
	}
	for _, bad := range []string{"x", "e30", "!!", "eyJpZCI6ImFcdTAwMDAifQ"} {
		_, err := w.queue.List(t.Context(), w.ada, Filter{After: bad})
		wantProblem(t, err, problem.Invalid, "bad_cursor")
	}
	_, err = w.queue.List(t.Context(), identity.Principal{}, Filter{})
	wantProblem(t, err, problem.Unauthenticated, "sign_in_required")
	_, err = w.queue.List(t.Context(), w.gateway, Filter{})
	wantProblem(t, err, problem.Forbidden, "not_for_gateways")
}

func TestListSummary(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.quorum(2, 2)
	r := w.vote(w.grace, w.vote(w.ada, w.ask(w.call(1)), Approve), Approve)
	w.claim(r)
	page, err := w.queue.List(t.Context(), w.tomas, Filter{})
	if err != nil || len(page.Items) != 1 {
		t.Fatalf("got %+v, %v", page, err)
	}
	got := page.Items[0]
	for _, at := range []time.Time{got.CreatedAt, got.ExpiresAt, *got.DecidedAt, *got.ClaimBy, got.ChangedAt, got.Now} {
		if at.IsZero() {
			t.Error("a time is missing")
		}
	}
	got.CreatedAt, got.ExpiresAt, got.ChangedAt, got.Now, got.DecidedAt, got.ClaimBy = time.Time{}, time.Time{}, time.Time{}, time.Time{}, nil, nil
	want := Summary{
		ID: r.ID, State: Approved, Version: 3, ServerID: server, ServerName: "com.example/orders", ToolID: tool, ToolName: "delete_orders",
		Kind: policy.KindTool, Risk: policy.Destructive, GatewayID: gateway, GatewayName: gateway, CallerIssuer: idp, CallerSubject: "tomas",
		CallerName: "Tomas Lind", Agent: "release-bot", Model: "m1", Evidence: "asserted", Quorum: 2, DenyQuorum: 2, Approvals: 2,
		Teams: []string{"Orders"}, DecidedBy: "Grace", Execution: TokenIssued, Mine: true,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("the summary (-want +got):\n%s", d)
	}
}

func TestDetail(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.quorum(2, 1)
	r := w.vote(w.ada, w.ask(w.call("<b>\u202e")), Approve)
	d, err := w.queue.Detail(t.Context(), w.grace, r.ID)
	if err != nil {
		t.Fatal(err)
	}
	if d.CallDigest != r.CallDigest || d.Version != r.Version || d.DefinitionNumber != 3 || d.Principal.Name != "Tomas Lind" {
		t.Errorf("got %+v", d)
	}
	var arguments map[string]string
	if err := json.Unmarshal(d.Arguments, &arguments); err != nil || arguments["order"] != "<b>\u202e" {
		t.Errorf("the arguments are %s, %v", d.Arguments, err)
	}
	if diff := cmp.Diff([]Rule{{ID: "grt_1", Name: "Everyone"}}, d.Grants); diff != "" {
		t.Errorf("grants (-want +got):\n%s", diff)
	}
	if len(d.Votes) != 1 || d.Votes[0].Name != "Ada" || d.Votes[0].Decision != Approve || !d.Votes[0].Counts {
		t.Errorf("votes: %+v", d.Votes)
	}
	for _, reader := range []struct {
		who    identity.Principal
		may    bool
		code   string
		revoke bool
	}{{w.grace, true, "", false}, {w.ada, false, "already_voted", false}, {w.tomas, false, "own_call", false}, {w.eve, false, "not_a_member", false}} {
		d, err := w.queue.Detail(t.Context(), reader.who, r.ID)
		if err != nil || d.Standing.May != reader.may || d.Standing.Code != reader.code || d.MayDecide != reader.may || d.MayRevoke != reader.revoke {
			t.Errorf("%s: standing %+v, may decide %v, may revoke %v, %v", reader.who.Name, d.Standing, d.MayDecide, d.MayRevoke, err)
		}
		if d.Standing.Sentence() == "" {
			t.Errorf("%s is told nothing", reader.who.Name)
		}
	}
	w.vote(w.grace, r, Approve)
	if d, err = w.queue.Detail(t.Context(), w.ada, r.ID); err != nil || !d.MayRevoke || d.MayDecide {
		t.Errorf("after the approval: may revoke %v, may decide %v, %v", d.MayRevoke, d.MayDecide, err)
	}
}

// TestDetailOfATamperedRow: a call that was put under another digest does not open.
func TestDetailOfATamperedRow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	one, two := w.ask(w.call(1)), w.ask(w.call(2))
	w.exec(`update approvals set call = (select call from approvals where id = $2) where id = $1`, one.ID, two.ID)
	if _, err := w.queue.Detail(t.Context(), w.ada, one.ID); err == nil || problem.From(err).Kind != problem.Internal {
		t.Errorf("got %v, want a fault", err)
	}
	if _, err := w.queue.Vote(t.Context(), w.ada, one.ID, on(one, Approve)); err == nil {
		t.Error("a call that cannot be read was approved")
	}
}

func TestCounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.quorum(2, 1)
	w.vote(w.ada, w.ask(w.call(1)), Approve)
	w.ask(w.call(2))
	w.vote(w.ada, w.ask(w.call(3)), Deny)
	w.exec(`update approvals set expires_at = clock_timestamp() where id = $1`, w.ask(w.call(4)).ID)
	for _, test := range []struct {
		who  identity.Principal
		want Counts
	}{
		{w.grace, Counts{Waiting: 2, ForMe: 2, DecidedLastDay: 1}},
		{w.ada, Counts{Waiting: 2, ForMe: 1, DecidedLastDay: 1}},
		{w.tomas, Counts{Waiting: 2, DecidedLastDay: 1}},
		{w.eve, Counts{Waiting: 2, DecidedLastDay: 1}},
	} {
		got, err := w.queue.Counts(t.Context(), test.who)
		if d := cmp.Diff(test.want, got); err != nil || d != "" {
			t.Errorf("%s: %v (-want +got):\n%s", test.who.Name, err, d)
		}
	}
}

// TestMark: a live page looks again after each transition, and only then.
func TestMark(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	last := ""
	changed := func(what string, want bool) {
		t.Helper()
		mark, err := w.queue.Mark(t.Context())
		if err != nil || (mark != last) != want {
			t.Errorf("%s: the mark went from %q to %q, %v", what, last, mark, err)
		}
		last = mark
	}
	changed("at first", true)
	r := w.ask(w.call(1))
	changed("after an ask", true)
	changed("after nothing", false)
	w.vote(w.ada, r, Approve)
	changed("after a vote", true)
	token := w.claim(r)
	w.mustRedeem(token, w.call(1), "red_1")
	changed("after the redemption", true)
	if err := w.queue.Outcome(t.Context(), w.gateway, "red_1", Outcome{Status: Succeeded}); err != nil {
		t.Fatal(err)
	}
	changed("after the outcome", true)
}

func TestListFilters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	open := w.ask(w.call(1))
	denied := w.vote(w.ada, w.ask(w.call(2)), Deny)
	w.exec(`update approvals set created_at = '2026-01-02 12:00Z', agent = 'nightly', emergency = true where id = $1`, denied.ID)
	day := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		who    identity.Principal
		filter Filter
		want   []Request
	}{
		"all":               {w.ada, Filter{}, []Request{open, denied}},
		"by tool":           {w.ada, Filter{Tool: "Delete_Orders", ServerID: "com.example/Orders"}, []Request{open, denied}},
		"of another tool":   {w.ada, Filter{Tool: "drop"}, nil},
		"by agent":          {w.ada, Filter{Agent: "nightly"}, []Request{denied}},
		"by who decided":    {w.ada, Filter{DecidedBy: "ada"}, []Request{denied}},
		"of a day":          {w.ada, Filter{From: day, To: day.AddDate(0, 0, 1)}, []Request{denied}},
		"of the day before": {w.ada, Filter{To: day}, nil},
		"emergencies":       {w.ada, Filter{Emergency: true}, []Request{denied}},
		"one's own":         {w.tomas, Filter{Mine: true}, []Request{open, denied}},
		"of somebody else":  {w.ada, Filter{Mine: true}, nil},
	} {
		page, err := w.queue.List(t.Context(), c.who, c.filter)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var got, want []string
		for _, s := range page.Items {
			got = append(got, s.ID)
		}
		for _, r := range c.want {
			want = append(want, r.ID)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
	_, err := w.queue.List(t.Context(), w.ada, Filter{Agent: "a\x00b"})
	wantProblem(t, err, problem.Invalid, "bad_filter")
}
