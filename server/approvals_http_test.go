package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"countersign/approvals"
	"countersign/canonical"
	"countersign/client"
	"countersign/policy"
	"countersign/registry"
)

// queries counts what requests ask the database; what goes on in the background is not theirs.
type queries struct{ n atomic.Int64 }

func (q *queries) note(ctx context.Context) {
	if ctx.Value(http.LocalAddrContextKey) != nil {
		q.n.Add(1)
	}
}

func (q *queries) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	q.note(ctx)
	return ctx
}
func (*queries) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (q *queries) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	q.note(ctx)
	return ctx
}
func (*queries) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}
func (*queries) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData)     {}

// asker is a gateway that asks, claims and redeems, the call it does so for, and another gateway of the same audience.
type asker struct {
	*held
	w          *world
	other      *edge
	definition registry.Definition
	queries    *queries
	orders     atomic.Int64
}

func newAsker(t *testing.T) *asker {
	t.Helper()
	q := &queries{}
	w := newWorld(t, func(c *Config) { c.Tracer = q })
	a := &asker{w: w, queries: q, held: w.hold(w.enrol("edge", "*")), other: w.enrol("other", "*")}
	a.definition = w.served(a.server.ID)["delete_orders"]
	return a
}

// about is the question about a call that nobody has asked for yet.
func (a *asker) about() client.Ask {
	a.w.t.Helper()
	return a.w.asking(a.g, a.server, a.definition, fmt.Sprintf(`{"order":%d}`, 1000+a.orders.Add(1)))
}

// asked is about with these arguments, whether they are acceptable or not.
func (a *asker) asked(arguments string) client.Ask {
	ask := a.ask
	ask.Call.Arguments = json.RawMessage(arguments)
	if digest, _, err := ask.Call.Digest(); err == nil {
		ask.CallDigest = digest
	}
	return ask
}

// approved asks for a new call and has it approved.
func (a *asker) approved(t *testing.T) (client.Ask, client.Approval) {
	t.Helper()
	ask := a.about()
	approval := into[client.Approval](t, a.g.call(http.MethodPost, client.PathApprovals, ask).want(t, http.StatusCreated))
	h := *a.held
	h.approval = approval
	h.vote(t, a.w, approvals.Approve)
	return ask, approval
}

// claimed is approved with the token.
func (a *asker) claimed(t *testing.T) (ask client.Ask, approval client.Approval, token string) {
	t.Helper()
	ask, approval = a.approved(t)
	return ask, approval, a.claim(t, approval)
}

func (a *asker) claim(t *testing.T, approval client.Approval) string {
	t.Helper()
	return into[client.Claim](t, a.g.call(http.MethodPost, client.PathApprovals+"/"+approval.ID+"/token", "").want(t, http.StatusOK)).Token
}

// redeem is the body of a redemption; changes are by the name of a member.
func redemption(token string, call policy.Call, id, instance string) client.Redeem {
	return client.Redeem{Token: token, Call: call, RedemptionID: id, Instance: instance}
}

// TestAskingBadly puts every wrong question to POST /v1/approvals: nobody is asked, and nothing but the refusal is kept.
func TestAskingBadly(t *testing.T) {
	t.Parallel()
	a := newAsker(t)
	before := read[int](a.w, `select count(*) from approvals`)
	t.Cleanup(func() {
		if after := read[int](a.w, `select count(*) from approvals`); after != before {
			t.Errorf("%d requests became %d", before, after)
		}
	})
	whole, err := json.Marshal(a.ask)
	must(t, err)
	in := func(old, replacement string) string { // the right body with one thing changed
		if !strings.Contains(string(whole), old) {
			t.Fatalf("no %s in %s", old, whole)
		}
		return strings.Replace(string(whole), old, replacement, 1)
	}
	with := func(change func(*client.Ask)) client.Ask {
		ask := a.ask
		change(&ask)
		if digest, _, err := ask.Call.Digest(); err == nil && ask.CallDigest == a.ask.CallDigest {
			ask.CallDigest = digest
		}
		return ask
	}
	for name, c := range map[string]struct {
		body   any
		kind   string
		status int
		code   string
	}{
		"one byte too many":         {body: a.asked(sized(canonical.MaxArgumentBytes + 1)), status: 400, code: "call_malformed"},
		"one level too deep":        {body: a.asked(nested(65)), status: 400, code: "call_malformed"},
		"2^53":                      {body: a.asked(`{"n":9007199254740992}`), status: 400, code: "call_malformed"},
		"2^53 + 1":                  {body: a.asked(`{"n":9007199254740993}`), status: 400, code: "call_malformed"},
		"more digits than a double": {body: a.asked(`{"n":0.1000000000000000055511151231257827}`), status: 400, code: "call_malformed"},
		"half a surrogate pair":     {body: in(`{"order":7}`, `{"order":"\ud83d"}`), status: 400, code: "invalid_json"},
		"the wrong half first":      {body: in(`{"order":7}`, `{"order":"\ude00\ud83d"}`), status: 400, code: "invalid_json"},
		"an argument twice":         {body: in(`{"order":7}`, `{"order":7,"order":7}`), status: 400, code: "invalid_json"},
		"twice by an escape":        {body: in(`{"order":7}`, `{"order":7,"\u006frder":8}`), status: 400, code: "invalid_json"},
		"in another case":           {body: in(`{"order":7}`, `{"order":7,"Order":8}`), status: 400, code: "invalid_json"},
		"NUL in a key":              {body: in(`{"order":7}`, `{"order\u0000":7}`), status: 400, code: "invalid_json"},
		"arguments in a list":       {body: a.asked(`[7]`), status: 400, code: "call_malformed"},
		"no arguments but null":     {body: in(`"arguments":{"order":7}`, `"arguments":null`), status: 400, code: "call_malformed"},
		"an unknown member":         {body: in(`"call_digest"`, `"approved":true,"call_digest"`), status: 400, code: "invalid_json"},
		"one in the call":           {body: in(`"tool":`, `"risk":"read_only","tool":`), status: 400, code: "invalid_json"},
		"one in the caller":         {body: in(`"subject":`, `"admin":true,"subject":`), status: 400, code: "invalid_json"},
		"no digest":                 {body: in(a.ask.CallDigest.String(), "sha256:7"), status: 400, code: "invalid_json"},
		"no kind of media":          {body: a.ask, kind: "text/plain", status: 415, code: unsupportedMedia},
		"a form":                    {body: "call=1", kind: "application/x-www-form-urlencoded", status: 415, code: unsupportedMedia},
		"too large a body":          {body: in(`{"order":7}`, `{"order":"`+strings.Repeat("x", bodyLimit)+`"}`), status: 413, code: "too_large"},
		"the digest of another":     {body: with(func(x *client.Ask) { x.CallDigest = canonical.Sum("another", nil) }), status: 409, code: client.CodeMismatch},
		"through another gateway":   {body: with(func(x *client.Ask) { x.Call.Gateway = a.other.ID }), status: 403, code: "foreign_gateway"},
		"to another control plane":  {body: with(func(x *client.Ask) { x.Call.Issuer = "https://elsewhere.example" }), status: 403, code: "foreign_issuer"},
		"evidence that is none":     {body: with(func(x *client.Ask) { x.Evidence = "eyJub3BlIjoxfQ.e30." }), status: 403, code: client.CodeBadEvidence},
		"evidence for another":      {body: with(func(x *client.Ask) { x.Evidence = a.w.idp.Token(t, "vera", "http://127.0.0.1:2") }), status: 403, code: client.CodeBadEvidence},
		"evidence of another":       {body: with(func(x *client.Ask) { x.Evidence = a.w.idp.Token(t, "nora", a.g.Resource) }), status: 403, code: "evidence_mismatch"},
		"another caller":            {body: with(func(x *client.Ask) { x.Call.Principal.Subject = "nora" }), status: 403, code: "evidence_mismatch"},
		"an unknown server":         {body: with(func(x *client.Ask) { x.Call.ServerID = "srv_none" }), status: 403, code: client.CodeDenied},
		"another endpoint":          {body: with(func(x *client.Ask) { x.Call.EndpointDigest = canonical.Sum("e", nil) }), status: 403, code: client.CodeDenied},
		"another definition":        {body: with(func(x *client.Ask) { x.Call.Definition = canonical.Sum("d", nil) }), status: 403, code: client.CodeDenied},
		"an unknown tool":           {body: with(func(x *client.Ask) { x.Call.Tool = "drop_orders" }), status: 403, code: client.CodeDenied},
		"another epoch":             {body: with(func(x *client.Ask) { x.Call.Epoch = 2 }), status: 403, code: client.CodeDenied},
		"a tool of two lines":       {body: with(func(x *client.Ask) { x.Call.Tool = "delete\norders" }), status: 400, code: "call_malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			header := []string{}
			if c.kind != "" {
				text, _ := c.body.(string)
				a.g.send(http.MethodPost, client.PathApprovals, text, "Content-Type", c.kind).wantProblem(t, c.status, c.code)
				return
			}
			a.g.call(http.MethodPost, client.PathApprovals, c.body, header...).wantProblem(t, c.status, c.code)
		})
	}
}

// sized are arguments of exactly so many bytes.
func sized(bytes int) string {
	const around = len(`{"note":""}`)
	return `{"note":"` + strings.Repeat("x", bytes-around) + `"}`
}

// nested are arguments that are so many levels deep.
func nested(levels int) string {
	return `{"a":` + strings.Repeat("[", levels-1) + strings.Repeat("]", levels-1) + `}`
}

// TestAskingAtTheLimit: what is just small, shallow and exact enough is asked for.
func TestAskingAtTheLimit(t *testing.T) {
	t.Parallel()
	a := newAsker(t)
	for name, arguments := range map[string]string{
		"256 KiB":    sized(canonical.MaxArgumentBytes),
		"one less":   sized(canonical.MaxArgumentBytes - 1),
		"64 levels":  nested(64),
		"2^53 - 1":   `{"n":9007199254740991,"m":-9007199254740991}`,
		"a pair":     `{"s":"😀"}`,
		"no member":  `{}`,
		"null in it": `{"x":null}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ask := a.asked(arguments)
			approval := into[client.Approval](t, a.g.call(http.MethodPost, client.PathApprovals, ask).want(t, http.StatusCreated))
			ask.Call.Arguments = append([]byte(`{"confirmation_token":"cst_`+strings.Repeat("0", 49)+`",`), ask.Call.Arguments[1:]...)
			if arguments == "{}" {
				ask.Call.Arguments = []byte(`{"confirmation_token":"cst_` + strings.Repeat("0", 49) + `"}`)
			}
			if len(ask.Call.Arguments) > canonical.MaxArgumentBytes {
				return
			}
			again := into[client.Approval](t, a.g.call(http.MethodPost, client.PathApprovals, ask).want(t, http.StatusOK))
			if again.ID != approval.ID {
				t.Errorf("with a token it is another request: %s and %s", approval.ID, again.ID)
			}
		})
	}
}
