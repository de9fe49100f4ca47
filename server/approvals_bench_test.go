package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/client"
	"countersign/internal/browsertest"
	"countersign/policy"
)

// rush is a held call, and people whose agents ask for many like it. Each may do so thirty times a minute.
type rush struct {
	*world
	*held
	gateway *edge
	asked   int
}

var agents = []string{"vera", "audra", "april", "nora", "ada"}

func newRush(b *testing.B) *rush {
	b.Helper()
	w := newWorld(b)
	g := w.enrol("edge", "*")
	h := w.hold(g)
	w.current(b, g.AudienceID)
	return &rush{world: w, held: h, gateway: g}
}

// another is a call that nobody asked for before.
func (r *rush) another() client.Ask {
	r.t.Helper()
	r.asked++
	evidence := r.idp.Token(r.t, agents[r.asked%len(agents)], r.gateway.Resource)
	who, err := r.auth.Evidence(r.t.Context(), r.gateway.principal(), evidence)
	must(r.t, err)
	call := r.ask.Call
	call.Principal, call.Arguments = who.Identity(), json.RawMessage(fmt.Sprintf(`{"order":%d}`, 1000+r.asked))
	digest, _, err := call.Digest()
	must(r.t, err)
	return client.Ask{Call: call, CallDigest: digest, Evidence: evidence, Principal: who}
}

func (r *rush) open(ask client.Ask) client.Approval {
	r.t.Helper()
	return into[client.Approval](r.t, r.gateway.call(http.MethodPost, client.PathApprovals, ask).want(r.t, http.StatusCreated))
}

func (r *rush) withdraw(id string) {
	r.t.Helper()
	r.gateway.call(http.MethodPost, client.PathApprovals+"/"+id+"/cancel", struct{}{}).want(r.t, http.StatusOK)
}

func percentiles(b *testing.B, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	for _, p := range []int{50, 95, 99} {
		b.ReportMetric(float64(took[min(len(took)-1, len(took)*p/100)].Microseconds())/1000, fmt.Sprintf("p%d-ms", p))
	}
}

// BenchmarkHeldCallShown is from the moment that a gateway asks to the moment that the request is in the queue of a
// browser that has it open.
func BenchmarkHeldCallShown(b *testing.B) {
	r := newRush(b)
	browser := browsertest.Open(b)
	browser.Go(r.url + "/auth/login")
	browser.Press(`button[value="tessa"]`)
	browser.Go(r.url + "/approvals")
	browser.Until(`document.querySelector("#queue ol a")`)
	browsertest.Eval[bool](browser, `(() => {
		window.seen = {};
		const look = () => { for (const a of document.querySelectorAll('#queue a')) seen[a.href.split("/").pop().split("?")[0]] ??= Date.now(); };
		new MutationObserver(look).observe(document.body, { childList: true, subtree: true });
		return true;
	})()`)
	var took []time.Duration
	for b.Loop() {
		ask := r.another()
		began := time.Now()
		id := r.open(ask).ID
		browser.Until(fmt.Sprintf("window.seen[%q]", id))
		at := browsertest.Eval[float64](browser, fmt.Sprintf("window.seen[%q]", id))
		took = append(took, time.UnixMilli(int64(at)).Sub(began))
		r.withdraw(id)
	}
	percentiles(b, took)
}

// BenchmarkApproveToToken is from the moment that a person presses Approve to the moment that the gateway, which waits
// for the decision, holds the token.
func BenchmarkApproveToToken(b *testing.B) {
	r := newRush(b)
	tessa := r.signIn("tessa")
	var took []time.Duration
	for b.Loop() {
		approval := r.open(r.another())
		held := make(chan time.Time, 1)
		go func() {
			path := client.PathApprovals + "/" + approval.ID
			decided := into[client.Approval](b, r.gateway.get(path+"?wait=30").want(b, http.StatusOK))
			if decided.State != client.ApprovalApproved {
				b.Errorf("the request is %s", decided.State)
			}
			r.gateway.call(http.MethodPost, path+"/token", struct{}{}).want(b, http.StatusOK)
			held <- time.Now()
		}()
		time.Sleep(50 * time.Millisecond) // until it waits
		pressed := time.Now()
		tessa.post("/approvals/"+approval.ID+"/decision", url.Values{
			"decision": {"approve"}, "version": {"1"}, "seen_digest": {approval.CallDigest.String()},
		}).want(b, http.StatusSeeOther)
		took = append(took, (<-held).Sub(pressed))
		r.withdraw(approval.ID)
	}
	percentiles(b, took)
}

// BenchmarkQueuePage is the queue when 10,000 calls wait.
func BenchmarkQueuePage(b *testing.B) {
	r := newRush(b)
	r.fill(b, 10_000)
	tessa := r.signIn("tessa")
	tessa.get("/approvals").want(b, http.StatusOK) // the first answer also prepares statements
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		tessa.get("/approvals").want(b, http.StatusOK)
		took = append(took, time.Since(began))
	}
	percentiles(b, took)
}

// fill makes pending requests of other calls, each sealed as its own.
func (r *rush) fill(b *testing.B, n int) {
	b.Helper()
	principal, err := json.Marshal(policy.Principal{Issuer: r.idp.Issuer, Subject: "vera", Name: "Vera Viewer"})
	must(b, err)
	batch := &pgx.Batch{}
	for i := range n {
		call := r.ask.Call
		call.Arguments = json.RawMessage(fmt.Sprintf(`{"order":%d}`, 1_000_000+i))
		digest, _, err := call.Digest()
		must(b, err)
		plain, err := call.Canonical()
		must(b, err)
		sealed, err := r.cfg.Key.Seal("held call", plain, digest[:])
		must(b, err)
		caller, err := r.cfg.Key.Seal("caller of a held call", principal, digest[:])
		must(b, err)
		batch.Queue(`
			insert into approvals
			select (jsonb_populate_record(a, jsonb_build_object('id', $2::text, 'call_digest', $3::bytea, 'call', $4::bytea, 'principal', $5::bytea,
			       'expires_at', a.expires_at + make_interval(secs => $6)))).*
			from approvals a where id = $1`,
			r.approval.ID, fmt.Sprint("apr_bench", i), digest[:], sealed, caller, float64(i)/100)
	}
	must(b, r.db.SendBatch(b.Context(), batch).Close())
	r.exec(`analyze`)
}
