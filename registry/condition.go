package registry

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"countersign/desired"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

// checkCondition complains of an expression that is none. A rule has none where it is "".
func checkCondition(invalid *problem.Error, condition string) {
	if condition != "" {
		ruleField(invalid, "condition", policy.CheckCondition("", condition))
	}
}

// ConditionFindings says what an expression asks of the arguments that some of the tools a resource reaches today do not
// take, a sentence each, and then which arguments it needs that a call may leave out; none if it suits all of them and
// needs nothing of the kind. It needs identity.ReadPolicy.
//
// Problems: Invalid invalid_condition, with the field condition: it is no condition, or it suits none of these tools;
// Invalid invalid_resource.
func (r *Registry) ConditionFindings(ctx context.Context, who identity.Principal, expr string, resource policy.Resource) ([]string, error) {
	if err := who.Can(identity.ReadPolicy, ""); err != nil {
		return nil, err
	}
	invalid := problem.New(problem.Invalid, "invalid_condition", "This is no condition for these tools.")
	if checkCondition(invalid, expr); len(invalid.Fields) > 0 {
		return nil, invalid
	}
	invalid = problem.New(problem.Invalid, "invalid_resource", "This selects nothing yet.")
	if ruleField(invalid, "resource", resource.Validate()); len(invalid.Fields) > 0 {
		return nil, invalid
	}
	suits, err := r.suits(ctx, resource, expressions{"condition": expr})
	if err != nil {
		return nil, err
	}
	if s := suits["condition"]; s.none() {
		return nil, problem.New(problem.Invalid, "invalid_condition", "This is no condition for these tools.").Field("condition", s.refusal())
	}
	return bounded(slices.Concat(suits["condition"].said, suits["condition"].noted)), nil
}

// expressions are those of a rule, by the field that has them.
type expressions map[string]string

func expressionsOf(condition string, e policy.Effect) expressions {
	all := expressions{}
	for field, expr := range map[string]string{"condition": condition, "effect.require": e.Require} {
		if expr != "" {
			all[field] = expr
		}
	}
	return all
}

func (n *NewGrant) expressions() expressions     { return expressionsOf(n.Condition, policy.Effect{}) }
func (n *NewGuardrail) expressions() expressions { return expressionsOf(n.Condition, n.Effect) }

// touched are the expressions if a change has to do with them or with what they look at. A rule whose tools changed under
// it may still be renamed.
func (all expressions) touched(differs []desired.Difference) expressions {
	for _, d := range differs {
		if d.Name == "condition" || d.Name == "require" || strings.HasPrefix(d.Name, "on.") {
			return all
		}
	}
	return nil
}

// checkSuits complains of expressions that suit none of the tools that a rule would reach today: somebody misspelt an
// argument. One that reaches nothing yet may be written before its tools come.
func (r *Registry) checkSuits(ctx context.Context, invalid *problem.Error, resource policy.Resource, all expressions) error {
	if len(all) == 0 {
		return nil
	}
	suits, err := r.suits(ctx, resource, all)
	if err != nil {
		return err
	}
	for field, s := range suits {
		if s.none() {
			invalid.Field(field, s.refusal())
		}
	}
	if len(invalid.Fields) > 0 {
		return invalid
	}
	return nil
}

// suits compares expressions with the tools that a resource reaches today, by the code that compiles a policy.
func (r *Registry) suits(ctx context.Context, resource policy.Resource, all expressions) (map[string]*suit, error) {
	var snapshot Snapshot
	err := pgx.BeginTxFunc(ctx, r.pool, ReadOnly, func(tx pgx.Tx) (err error) {
		snapshot, err = r.offersTx(ctx, tx, "")
		return err
	})
	if err != nil {
		return nil, err
	}
	document, err := compilePreview(snapshot, []policy.SourceGrant{probe(resource)})
	if err != nil {
		return nil, err
	}
	suits := map[string]*suit{}
	for field, expr := range all {
		suits[field] = suitOf(expr, &document, func(t *policy.Tool) bool { return len(t.Grants) > 0 })
	}
	return suits, nil
}

// Bounds of a comparison.
const (
	mostSuited   = 1000 // tools that are looked at
	mostFindings = 20   // sentences that are said
)

// suit is how an expression suits tools.
type suit struct {
	looked int  // tools that were compared
	fits   int  // of them, those that it suits
	more   bool // there are tools that were not looked at
	said   []string
	noted  []string // what does not speak against it
}

// suitOf compares an expression with the tools of a document that are reached.
func suitOf(expr string, d *policy.Document, reached func(*policy.Tool) bool) *suit {
	var s suit
	for i := range d.Servers {
		server := &d.Servers[i]
		for j := range server.Tools {
			switch t := &server.Tools[j]; {
			case !reached(t):
			case s.looked == mostSuited:
				s.more = true
				return &s
			default:
				s.look(expr, server.Name, t)
			}
		}
	}
	return &s
}

func (s *suit) look(expr, server string, t *policy.Tool) {
	s.looked++
	found := policy.ConditionFindings(expr, *t)
	if len(found) == 0 {
		s.fits++
	}
	s.said = about(s.said, server, t, found)
	s.noted = about(s.noted, server, t, policy.ConditionNotes(expr, *t))
}

func about(said []string, server string, t *policy.Tool, sentences []string) []string {
	for _, sentence := range sentences {
		said = append(said, desired.Visible(server+": "+t.Name)+": "+sentence)
	}
	return said
}

// none reports whether the expression suits none of the tools that are reached.
func (s *suit) none() bool { return s.looked > 0 && s.fits == 0 && !s.more }

// refusal says why a rule with such an expression is not kept.
func (s *suit) refusal() string {
	if s.looked == 1 {
		return "This does not suit the one tool that the rule reaches. " + s.said[0]
	}
	return fmt.Sprintf("This suits none of the %d tools that the rule reaches. The first: %s", s.looked, s.said[0])
}

// bounded says how many more there are where there are too many.
func bounded(sentences []string) []string {
	if more := len(sentences) - mostFindings; more > 0 {
		return append(sentences[:mostFindings:mostFindings], fmt.Sprintf("And %d more.", more))
	}
	return sentences
}
