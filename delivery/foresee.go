package delivery

import (
	"context"

	"countersign/identity"
	"countersign/policy"
)

// Foresight is what a draft would do if it were saved now.
type Foresight struct {
	Generation int64             // of the registry that the draft was held against
	Changes    policy.Changes    // who gains and who loses what, which guardrails begin and stop
	Sentences  []policy.Sentence // the same in words, those that gain and lose first
	More       int               // sentences that were left out
	Warnings   []policy.Warning  // that would be new
	Settled    []policy.Warning  // that would be gone
	Failing    []TestResult      // policy tests that would fail and keep it from being published
}

// Nothing reports whether no call anywhere would be decided otherwise: a grant that reaches nothing, or gives what
// others give already.
func (f Foresight) Nothing() bool { return f.Changes.Empty() }

const (
	mostSentences = 200 // that a foresight has
	mostNamed     = 20  // tools of a server that a sentence names
)

// Foresee says who gains and loses what if the draft were saved, before anybody saves it. It changes nothing. It needs
// identity.ReadPolicy. Problem: Invalid invalid_draft.
func (d *Delivery) Foresee(ctx context.Context, who identity.Principal, draft Draft) (Foresight, error) {
	if err := who.Can(identity.ReadPolicy, ""); err != nil {
		return Foresight{}, err
	}
	s, err := d.stands(ctx)
	if err != nil {
		return Foresight{}, err
	}
	next, err := draft.on(s.Snapshot)
	if err != nil {
		return Foresight{}, err
	}
	before, hadWarnings, err := s.whole()
	if err != nil {
		return Foresight{}, err
	}
	after, hasWarnings, err := compileAll(next, s.since)
	if err != nil {
		return Foresight{}, err
	}
	f := Foresight{Generation: s.Generation, Changes: policy.Diff(before, &after)}
	f.Sentences = f.Changes.Words(policy.Wording{Teams: s.teams, Most: mostNamed})
	if len(f.Sentences) > mostSentences {
		f.More = len(f.Sentences) - mostSentences
		f.Sentences = f.Sentences[:mostSentences]
	}
	known, err := d.knownOf(ctx, s, next)
	if err != nil {
		return Foresight{}, err
	}
	had, has := doubts(before, hadWarnings, known), doubts(&after, hasWarnings, known)
	f.Warnings, f.Settled = newWarnings(had, has), newWarnings(has, had)
	f.Failing, err = s.trial.failures(next, s.at)
	return f, err
}

// newWarnings gives those of after that before has not.
func newWarnings(before, after []policy.Warning) []policy.Warning {
	known := make(map[policy.Warning]bool, len(before))
	for _, w := range before {
		known[w] = true
	}
	var fresh []policy.Warning
	for _, w := range after {
		if !known[w] {
			fresh = append(fresh, w)
		}
	}
	return fresh
}
