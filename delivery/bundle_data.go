package delivery

import (
	"maps"
	"math"
	"slices"
	"time"

	"countersign/policy"
)

// bundleData is data.json. The members of its structs are in the order of their names (encodeJSON).
type bundleData struct {
	Policy policyData `json:"countersign_policy"`
}

// policyData is the document for the module: everything is found by a name or a number, and nothing is searched.
type policyData struct {
	Grants     map[string]grantData     `json:"grants"`     // by id: those that a name alone does not decide
	Guardrails map[string]guardrailData `json:"guardrails"` // by id
	Reaches    []reachData              `json:"reaches"`
	Servers    map[string]serverData    `json:"servers"` // by name
	Subjects   []subjectData            `json:"subjects"`
}

type grantData struct {
	NotAfter  *int64 `json:"not_after,omitempty"` // nanoseconds since 1970
	NotBefore *int64 `json:"not_before,omitempty"`
	Subject   int    `json:"subject"` // place in subjects
}

type guardrailData struct {
	Approval         *approvalData    `json:"approval,omitempty"`
	Except           *int             `json:"except,omitempty"` // place in subjects
	MaxResponseBytes int64            `json:"max_response_bytes,omitempty"`
	RateLimit        *rateLimitData   `json:"rate_limit,omitempty"`
	StepUp           *stepUpData      `json:"step_up,omitempty"`
	Subject          int              `json:"subject"`
	TokenBudget      *tokenBudgetData `json:"token_budget,omitempty"`
}

type rateLimitData struct {
	Calls   int `json:"calls"`
	Seconds int `json:"seconds"`
}

type tokenBudgetData struct {
	Seconds int `json:"seconds"`
	Tokens  int `json:"tokens"`
}

type serverData struct {
	Offers    map[policy.Kind]map[string]offerData `json:"offers"`
	State     string                               `json:"state"`
	Team      string                               `json:"team"`
	Templates []templateData                       `json:"templates,omitempty"`
}

type offerData struct {
	Guardrails map[string][]string `json:"guardrails,omitempty"` // by effect: ids, ascending
	Held       bool                `json:"held"`
	Reaches    []int               `json:"reaches,omitempty"` // places in reaches
}

type templateData struct {
	Expression string `json:"expression"`
	Name       string `json:"name"`
}

// newPolicyData makes the data of a valid document.
func newPolicyData(d *policy.Document) policyData {
	b := newBundler(d)
	for i := range d.Guardrails {
		b.addGuardrail(&d.Guardrails[i])
	}
	for i := range d.Servers {
		b.data.Servers[d.Servers[i].Name] = b.server(&d.Servers[i])
	}
	return b.data
}

// bundler makes the data of one document. What is equal is kept once.
type bundler struct {
	*policy.Document
	data     policyData
	subjects map[string]int // by their JSON: places in data.Subjects
	reaches  map[string]int // likewise
}

func newBundler(d *policy.Document) *bundler {
	return &bundler{
		Document: d, subjects: map[string]int{}, reaches: map[string]int{},
		data: policyData{
			Grants: map[string]grantData{}, Guardrails: map[string]guardrailData{}, Servers: map[string]serverData{},
			Reaches: []reachData{}, Subjects: []subjectData{},
		},
	}
}

func (b *bundler) addGuardrail(g *policy.Guardrail) {
	data := guardrailData{Subject: b.subject(g.Subject), MaxResponseBytes: g.Effect.MaxResponseBytes}
	if namesAnybody(g.Except) {
		except := b.subject(g.Except)
		data.Except = &except
	}
	data.Approval, data.StepUp = newApprovalData(g.Effect.Approval), newStepUpData(g.Effect.StepUp)
	if l := g.Effect.RateLimit; l != nil {
		data.RateLimit = &rateLimitData{l.Calls, l.Seconds}
	}
	if t := g.Effect.TokenBudget; t != nil {
		data.TokenBudget = &tokenBudgetData{t.Seconds, t.Tokens}
	}
	b.data.Guardrails[g.ID] = data
}

// effectOf is the name by which the module finds the guardrails of an effect. What it does not know denies: a language
// that grew since must not become looser here.
func effectOf(e policy.Effect) string {
	switch {
	case e.Deny:
		return "deny"
	case e.Approval != nil:
		return "approval"
	case e.MFA:
		return "mfa"
	case e.StepUp != nil:
		return "step_up"
	case e.RateLimit != nil:
		return "rate_limit"
	case e.Require != "":
		return "require"
	case e.TokenBudget != nil:
		return "token_budget"
	case e.MaxResponseBytes != 0:
		return "max_response_bytes"
	}
	return "deny"
}

func (b *bundler) server(s *policy.Server) serverData {
	data := serverData{Offers: map[policy.Kind]map[string]offerData{}, State: s.State, Team: s.Team}
	commons := commonGrants(s.Tools)
	reaches := map[policy.Kind][]int{}
	for _, kind := range slices.Sorted(maps.Keys(commons)) {
		data.Offers[kind], reaches[kind] = map[string]offerData{}, b.reach(commons[kind])
	}
	for i := range s.Tools {
		t := &s.Tools[i]
		data.Offers[t.Kind][t.Name] = offerData{
			Guardrails: b.byEffect(t.Guardrails), Held: t.Held,
			Reaches: slices.Concat(reaches[t.Kind], b.reach(without(t.Grants, commons[t.Kind]))),
		}
		if expression, ok := policy.TemplateExpression(t.Name); ok && t.Kind == policy.KindResource {
			data.Templates = append(data.Templates, templateData{expression, t.Name})
		}
	}
	return data
}

// byEffect sorts guardrails by what they do.
func (b *bundler) byEffect(guardrails []int) map[string][]string {
	ids := map[string][]string{}
	for _, i := range guardrails {
		effect := effectOf(b.Guardrails[i].Effect)
		ids[effect] = append(ids[effect], b.Guardrails[i].ID)
	}
	return ids
}

// The times that the module can compare, in nanoseconds since 1970. It refuses a call at any other.
var (
	firstTime = time.Unix(0, math.MinInt64)
	lastTime  = time.Unix(0, math.MaxInt64)
)

// nanoseconds is t for the module: the nearest that it can compare.
func nanoseconds(t *time.Time) *int64 {
	var n int64
	switch {
	case t == nil:
		return nil
	case t.Before(firstTime):
		n = math.MinInt64
	case t.After(lastTime):
		n = math.MaxInt64
	default:
		n = t.UnixNano()
	}
	return &n
}
