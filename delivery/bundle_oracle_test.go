package delivery

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"countersign/canonical"
	"countersign/internal/opatest"
	"countersign/policy"
)

// decided is a decision, as both evaluators say it.
type decided struct {
	Outcome     string         `json:"outcome"`
	Reason      string         `json:"reason"`
	Guardrail   string         `json:"guardrail"` // that denies
	StepUp      *policy.StepUp `json:"step_up"`
	Obligations obligations    `json:"obligations"`
}

type obligations struct {
	Approval         *approval    `json:"approval"`
	RateLimits       []rateLimit  `json:"rate_limits"`
	TokenBudgets     []tokenLimit `json:"token_budgets"`
	MaxResponseBytes int64        `json:"max_response_bytes"`
}

type approval struct {
	policy.Approval
	Guardrails []string `json:"guardrails"`
}

type rateLimit struct {
	Guardrail string `json:"guardrail"`
	Calls     int    `json:"calls"`
	Seconds   int    `json:"seconds"`
}

type tokenLimit struct {
	Guardrail string `json:"guardrail"`
	Tokens    int    `json:"tokens"`
	Seconds   int    `json:"seconds"`
}

// decideAsWe is what our own evaluator decides.
func decideAsWe(ix *policy.Index, r policy.Request) decided {
	v, rules := ix.Decide(r), ix.Document().Guardrails
	d := decided{Outcome: v.Outcome.String(), Reason: string(v.Reason), Obligations: obligations{MaxResponseBytes: v.MaxResponseBytes}}
	if v.Outcome == policy.Deny {
		if v.Guardrail >= 0 {
			d.Guardrail = rules[v.Guardrail].ID
		}
		d.StepUp = v.StepUp
		return d
	}
	if a := v.Approval; a != nil {
		full := *a
		full.PendingSeconds = cmp.Or(a.PendingSeconds, policy.DefaultPendingSeconds)
		if a.BreakGlass != nil {
			full.BreakGlass = &policy.BreakGlass{
				OwningTeam: a.BreakGlass.OwningTeam, Teams: a.BreakGlass.Teams, ReviewSeconds: cmp.Or(a.BreakGlass.ReviewSeconds, policy.DefaultReviewSeconds),
			}
		}
		d.Obligations.Approval = &approval{Approval: full}
		for _, g := range v.Guardrails {
			d.Obligations.Approval.Guardrails = append(d.Obligations.Approval.Guardrails, rules[g].ID)
		}
	}
	for _, g := range v.Limits {
		l := rules[g].Effect.RateLimit
		d.Obligations.RateLimits = append(d.Obligations.RateLimits, rateLimit{rules[g].ID, l.Calls, l.Seconds})
	}
	for _, g := range v.Budgets {
		b := rules[g].Effect.TokenBudget
		d.Obligations.TokenBudgets = append(d.Obligations.TokenBudgets, tokenLimit{rules[g].ID, b.Tokens, b.Seconds})
	}
	return d
}

// decideAsOPA is what a stock OPA decides by the bundle of the same document.
func decideAsOPA(t *testing.T, ix *policy.Index, requests []policy.Request) []decided {
	t.Helper()
	inputs := make([]any, 0, len(requests))
	for _, r := range requests {
		inputs = append(inputs, asOPA(r))
	}
	var decisions []decided
	opatest.Eval(t, bundleOf(t, ix), `[decision | some call in input; decision := data.countersign.decision with input as call]`, inputs, &decisions)
	if len(decisions) != len(requests) {
		t.Fatalf("%d decisions on %d calls", len(decisions), len(requests))
	}
	return decisions
}

// bundleOf is signed by a key that nobody needs.
func bundleOf(t testing.TB, ix *policy.Index) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := newBundle(snapshotFor(ix), "k", key)
	if err != nil {
		t.Fatal(err)
	}
	return bundle
}

func snapshotFor(ix *policy.Index) *Snapshot {
	d := ix.Document()
	digest := canonical.Sum("document", nil)
	return &Snapshot{
		AudienceID: d.Audience, Epoch: d.Epoch, Revision: d.Revision, Digest: digest,
		ETag: policy.ETag(d.Epoch, d.Revision, digest, ""), Tag: policy.NewTag(d.Epoch, d.Revision, digest, ""), Index: ix,
	}
}

func indexed(t testing.TB, src policy.Source) *policy.Index {
	t.Helper()
	document, _, err := policy.Compile(src, drawnNoon)
	if err != nil {
		t.Fatal(err)
	}
	ix, err := policy.NewIndex(document)
	if err != nil {
		t.Fatal(err)
	}
	return ix
}

// calls of each registry, drawn anew.
const callsOfARegistry = 8192

func drawn(t *testing.T, d *dice) (*policy.Index, []policy.Request) {
	t.Helper()
	ix := indexed(t, d.source())
	requests := make([]policy.Request, callsOfARegistry)
	for i := range requests {
		requests[i] = d.request()
	}
	return ix, requests
}

// TestOPAAgrees asks our evaluator and a stock OPA about the same calls, by policies without conditions.
func TestOPAAgrees(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		t.Run(fmt.Sprint("registry ", seed), func(t *testing.T) {
			t.Parallel()
			ix, requests := drawn(t, &dice{Rand: mathrand.New(mathrand.NewPCG(seed, 1))})
			seen := map[string]int{}
			for i, theirs := range decideAsOPA(t, ix, requests) {
				ours := decideAsWe(ix, requests[i])
				seen[ours.Outcome]++
				seen[ours.Reason]++
				if diff := gocmp.Diff(ours, theirs, cmpopts.EquateEmpty()); diff != "" {
					t.Fatalf("%s: (-ours +OPA)\n%s", describe(requests[i]), diff)
				}
			}
			if seen["allow"] < 100 || seen["hold"] < 20 || seen["deny"] < 100 {
				t.Errorf("the calls say little: %v", seen)
			}
		})
	}
}

// TestOPAFoldsTemplates asks for a resource that two templates make, of which each is denied for a reason of its own.
func TestOPAFoldsTemplates(t *testing.T) {
	t.Parallel()
	src := inputSource()
	resources := func(name string) policy.Resource {
		return policy.Resource{Servers: []string{"*"}, Kinds: []policy.Kind{policy.KindResource}, Names: []string{name}}
	}
	for _, name := range []string{"db://{+path}", "db://{id}", "db://{id}/{part}"} {
		src.Servers[0].Tools = append(src.Servers[0].Tools, policy.Tool{
			ID: name, Kind: policy.KindResource, Name: name, Definition: canonical.Sum("definition", nil), Risk: policy.ReadOnly,
		})
	}
	for i, name := range []string{"db://{+path}", "db://{id}/{part}"} {
		src.Grants = append(src.Grants, policy.SourceGrant{
			Grant: policy.Grant{ID: fmt.Sprint("more", i), Name: "more", Subject: policy.Subject{Everyone: true}}, Resource: resources(name),
		})
	}
	src.Guardrails = append(src.Guardrails, policy.SourceGuardrail{
		Guardrail: policy.Guardrail{ID: "r4", Name: "r4", Subject: policy.Subject{Everyone: true}, Effect: policy.Effect{MFA: true}},
		Resource:  resources("db://{+path}"),
	})
	ix := indexed(t, src)
	var requests []policy.Request
	for _, name := range []string{"db://1", "db://1/2", "db://1/2/3", "db://"} {
		for _, amr := range [][]string{nil, {"mfa"}} {
			p := &policy.Principal{Groups: []string{}, AMR: amr}
			requests = append(requests, policy.Request{Server: "3", Kind: policy.KindResource, Name: name, Principal: p, Now: drawnNoon})
		}
	}
	want := []policy.Reason{
		policy.ReasonNoGrant, policy.ReasonNoGrant, policy.ReasonMFARequired, policy.ReasonAllowed,
		policy.ReasonMFARequired, policy.ReasonAllowed, policy.ReasonMFARequired, policy.ReasonAllowed,
	}
	for i, theirs := range decideAsOPA(t, ix, requests) {
		ours := decideAsWe(ix, requests[i])
		if theirs.Reason != string(want[i]) || !gocmp.Equal(ours, theirs, cmpopts.EquateEmpty()) {
			t.Errorf("%s: want %s\n%s", describe(requests[i]), want[i], gocmp.Diff(ours, theirs))
		}
	}
}

// TestOPAIsNeverLooser asks both about the same calls, by policies with conditions.
func TestOPAIsNeverLooser(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("registry ", seed), func(t *testing.T) {
			t.Parallel()
			ix, requests := drawn(t, &dice{Rand: mathrand.New(mathrand.NewPCG(seed, 2)), conditions: true})
			seen := map[string]int{}
			for i, theirs := range decideAsOPA(t, ix, requests) {
				ours := decideAsWe(ix, requests[i])
				seen[ours.Outcome+" here, "+theirs.Outcome+" in OPA"]++
				if !asStrict(theirs, ours) {
					t.Fatalf("%s: looser than ours (-ours +OPA)\n%s", describe(requests[i]), gocmp.Diff(ours, theirs))
				}
			}
			if seen["allow here, allow in OPA"] == 0 || seen["allow here, deny in OPA"] == 0 {
				t.Errorf("the calls say little: %v", seen)
			}
			t.Log(seen)
		})
	}
}

// asStrict reports whether whatever a lets through, b lets through as well, on no harder terms.
func asStrict(a, b decided) bool {
	order := []string{"deny", "hold", "allow"}
	switch of := a.Obligations; {
	case a.Outcome == "deny":
		return true
	case slices.Index(order, a.Outcome) > slices.Index(order, b.Outcome):
		return false
	case !holdsAll(of.RateLimits, b.Obligations.RateLimits), !holdsAll(of.TokenBudgets, b.Obligations.TokenBudgets):
		return false
	case b.Obligations.MaxResponseBytes > 0 && (of.MaxResponseBytes == 0 || of.MaxResponseBytes > b.Obligations.MaxResponseBytes):
		return false
	case b.Obligations.Approval == nil:
		return true
	default:
		x, y := of.Approval, b.Obligations.Approval
		return !slices.ContainsFunc(x.Ways(), func(w policy.Approvers) bool { return !anyEasier(y.Ways(), w) }) &&
			x.DenyQuorum <= y.DenyQuorum && x.PendingSeconds <= y.PendingSeconds && holdsAll(x.Guardrails, y.Guardrails) &&
			(x.Evidence || !y.Evidence) && (x.NotGranter || !y.NotGranter) && (x.StepUp != nil || y.StepUp == nil) &&
			(x.Scope == nil || y.Scope != nil && x.Scope.MaxUses <= y.Scope.MaxUses && holdsAll(y.Scope.Free, x.Scope.Free)) &&
			(x.Fallback == nil || y.Fallback != nil && holdsAll(y.Fallback.Teams, x.Fallback.Teams)) &&
			(x.BreakGlass == nil || y.BreakGlass != nil && holdsAll(y.BreakGlass.Teams, x.BreakGlass.Teams))
	}
}

// anyEasier reports whether whoever goes a way could go one of others.
func anyEasier(others []policy.Approvers, way policy.Approvers) bool {
	return len(way.Teams) == 0 || slices.ContainsFunc(others, func(o policy.Approvers) bool {
		return o.Quorum <= way.Quorum && holdsAll(o.Teams, way.Teams)
	})
}

func holdsAll[T comparable](all, some []T) bool {
	return !slices.ContainsFunc(some, func(x T) bool { return !slices.Contains(all, x) })
}
