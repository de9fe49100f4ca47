package policy_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"countersign/policy"
)

// TestEffectiveAccessIsWhatIsDecided: where the access of a subject does not depend on more, every caller whom a grant of
// it lets call gets just that verdict, save for other grants and conditions of their own.
func TestEffectiveAccessIsWhatIsDecided(t *testing.T) {
	t.Parallel()
	rapid.Check(t, effectiveAccessIsWhatIsDecided)
}

func effectiveAccessIsWhatIsDecided(t *rapid.T) {
	src := drawSource.Draw(t, "source")
	ix := compile(t, src)
	d := ix.Document()
	subjects := d.Subjects()
	of := 0
	for _, s := range subjects {
		of += len(s.Grants)
	}
	if of != len(d.Grants) {
		t.Fatalf("%d subjects have %d of %d grants", len(subjects), of, len(d.Grants))
	}
	r := drawRequest.Draw(t, "request")
	appraisal := d.Appraise(subjects, r.Now)
	for i := range d.Servers {
		s := &d.Servers[i]
		for j := range s.Tools {
			tool := &s.Tools[j]
			each := r
			each.Server, each.Kind, each.Name = s.Name, tool.Kind, tool.Name
			v := ix.Decide(each)
			granted := false
			for at, e := range appraisal.EffectiveFor(s, tool) {
				matches := slices.ContainsFunc(ix.Trace(each).Steps, func(step policy.Step) bool {
					return step.Rule == "grant" && step.Matched() && slices.Contains(subjects[at].Grants, step.Index)
				})
				granted = granted || matches
				if matches && !e.Depends && e.Outcome != v.Outcome {
					t.Errorf("%s: %s have %v %s, decided %v %s", describe(each), subjects[at].Words, e.Outcome, e.Reason, v.Outcome, v.Reason)
				}
				if matches && e.Outcome == policy.Deny && v.Outcome != policy.Deny {
					t.Errorf("%s: %s are denied, decided %v", describe(each), subjects[at].Words, v.Outcome)
				}
			}
			if v.Outcome != policy.Deny && !granted {
				t.Errorf("%s: %v, and no subject has it", describe(each), v.Outcome)
			}
		}
	}
}

// TestCouldIsNeverTooNarrow: whoever a grant matches could be in its subject, also as far as less is known of them.
func TestCouldIsNeverTooNarrow(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		src := drawSource.Draw(t, "source")
		ix := compile(t, src)
		r := drawRequest.Draw(t, "request")
		known := *r.Principal
		if rapid.Bool().Draw(t, "groups are not known") {
			known.Groups = nil
		}
		if rapid.Bool().Draw(t, "the issuer is not known") {
			known.Issuer = ""
		}
		for _, step := range ix.Trace(r).Steps {
			if step.Rule == "grant" && step.Matched() && !step.Grant.Subject.Could(known) {
				t.Errorf("%s: %s could not be %+v", describe(r), step.Grant.Subject.Words(), known)
			}
		}
	})
}

// TestAccessOfACallerIsWhatIsDecided: what a caller is said to have does not change with the arguments unless it is said
// to depend, and what is left out is denied whatever they are.
func TestAccessOfACallerIsWhatIsDecided(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ix := compile(t, drawSource.Draw(t, "source"))
		r := drawRequest.Draw(t, "request")
		d := ix.Document()
		for i := range d.Servers {
			s := &d.Servers[i]
			had := map[*policy.Tool]policy.Effective{}
			for e := range ix.Access(s.Name, r.Principal, r.Now) {
				had[e.Tool] = e
			}
			for j := range s.Tools {
				tool := &s.Tools[j]
				each := r
				each.Server, each.Kind, each.Name = s.Name, tool.Kind, tool.Name
				v, e := ix.Decide(each), had[tool]
				if !e.Depends && e.Outcome != v.Outcome {
					t.Errorf("%s: has %v %s, decided %v %s", describe(each), e.Outcome, e.Reason, v.Outcome, v.Reason)
				}
			}
		}
	})
}
