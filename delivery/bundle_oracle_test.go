package delivery

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"countersign/canonical"
	"countersign/internal/opatest"
	"countersign/policy"
)

// judged is a decision, as both evaluators say it.
type judged struct {
	Outcome     string      `json:"outcome"`
	Reason      string      `json:"reason"`
	Guardrail   string      `json:"guardrail"` // that denies
	Obligations obligations `json:"obligations"`
}

type obligations struct {
	Approval         *approval    `json:"approval"`
	RateLimits       []rateLimit  `json:"rate_limits"`
	TokenBudgets     []tokenLimit `json:"token_budgets"`
	MaxResponseBytes int64        `json:"max_response_bytes"`
}

type approval struct {
	Guardrails     []string `json:"guardrails"`
	Quorum         int      `json:"quorum"`
	DenyQuorum     int      `json:"deny_quorum"`
	PendingSeconds int      `json:"pending_seconds"`
	Teams          []string `json:"teams"`
	OwningTeam     bool     `json:"owning_team"`
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
func decideAsWe(ix *policy.Index, r policy.Request) judged {
	v, rules := ix.Decide(r), ix.Document().Guardrails
	j := judged{Outcome: v.Outcome.String(), Reason: string(v.Reason), Obligations: obligations{MaxResponseBytes: v.MaxResponseBytes}}
	if v.Outcome == policy.Deny {
		if v.Guardrail >= 0 {
			j.Guardrail = rules[v.Guardrail].ID
		}
		return j
	}
	if a := v.Approval; a != nil {
		j.Obligations.Approval = &approval{
			Quorum: a.Quorum, DenyQuorum: a.DenyQuorum, PendingSeconds: cmp.Or(a.PendingSeconds, policy.DefaultPendingSeconds),
			Teams: a.Teams, OwningTeam: a.OwningTeam,
		}
		for _, g := range v.Guardrails {
			j.Obligations.Approval.Guardrails = append(j.Obligations.Approval.Guardrails, rules[g].ID)
		}
	}
	for _, g := range v.Limits {
		l := rules[g].Effect.RateLimit
		j.Obligations.RateLimits = append(j.Obligations.RateLimits, rateLimit{rules[g].ID, l.Calls, l.Seconds})
	}
	for _, g := range v.Budgets {
		b := rules[g].Effect.TokenBudget
		j.Obligations.TokenBudgets = append(j.Obligations.TokenBudgets, tokenLimit{rules[g].ID, b.Tokens, b.Seconds})
	}
	return j
}

// decideAsOPA is what a stock OPA decides by the bundle of the same document.
func decideAsOPA(t *testing.T, ix *policy.Index, requests []policy.Request) []judged {
	t.Helper()
	inputs := make([]any, 0, len(requests))
	for _, r := range requests {
		inputs = append(inputs, asOPA(r))
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := newBundle(snapshotFor(ix), "k", key)
	if err != nil {
		t.Fatal(err)
	}
	var decisions []judged
	opatest.Eval(t, bundle, `[decision | some call in input; decision := data.countersign.decision with input as call]`, inputs, &decisions)
	if len(decisions) != len(requests) {
		t.Fatalf("%d decisions on %d calls", len(decisions), len(requests))
	}
	return decisions
}

func snapshotFor(ix *policy.Index) *Snapshot {
	d := ix.Document()
	digest := canonical.Sum("document", nil)
	return &Snapshot{
		AudienceID: d.Audience, Epoch: d.Epoch, Revision: d.Revision, Digest: digest,
		ETag: policy.ETag(d.Epoch, d.Revision, digest, ""), Index: ix,
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

const callsOfARegistry = 8192

func TestOPAAgrees(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("registry ", seed), func(t *testing.T) {
			t.Parallel()
			d := &dice{Rand: mathrand.New(mathrand.NewPCG(seed, 1))}
			ix := indexed(t, d.source())
			requests := make([]policy.Request, callsOfARegistry)
			for i := range requests {
				requests[i] = d.request()
			}
			count := map[string]int{}
			for i, theirs := range decideAsOPA(t, ix, requests) {
				ours := decideAsWe(ix, requests[i])
				count[ours.Reason]++
				if diff := gocmp.Diff(ours, theirs, cmpopts.EquateEmpty()); diff != "" {
					t.Fatalf("%s: (-ours +OPA)\n%s", describe(requests[i]), diff)
				}
			}
			t.Log(count)
		})
	}
}
