package policy

import "slices"

// Trace is a decision with all that was looked at for it, in the order of the four steps of the package comment. It is
// for people to read: Decide alone decides, and Trace tells of the same verdict.
type Trace struct {
	Verdict
	Steps    []Step
	Deciding *Step  // the one of Steps that settled it; nil where no grant is near enough to be one
	Nearest  []Near // if no grant allows: those that miss by the least, the nearest first
}

// Stage is one of the four steps of a decision.
type Stage string

// The stages, in order.
const (
	StageOffer  Stage = "offer"  // the server is active, the tool known, and what is offered is what is pinned
	StageDeny   Stage = "deny"   // no guardrail denies
	StageGrant  Stage = "grant"  // a grant allows
	StageOblige Stage = "oblige" // what the other guardrails demand
)

// Ruling is what a step does to the call.
type Ruling string

// The rulings.
const (
	RulingPass  Ruling = "pass"  // a check that holds
	RulingDeny  Ruling = "deny"  // it denies
	RulingAllow Ruling = "allow" // a grant that allows
	RulingHold  Ruling = "hold"  // it demands an approval
	RulingMet   Ruling = "met"   // it demands what the caller has
	RulingLimit Ruling = "limit" // it counts the call, or bounds its result
	RulingMiss  Ruling = "miss"  // it does not match
)

// Step is one check, or one rule that reaches the tool.
type Step struct {
	Stage     Stage
	Check     string // of StageOffer: "server", "tool" or "definition"
	Tool      *Tool  // by which the call is judged: a resource may match several templates; nil if none is known
	Rule      string // "grant" or "guardrail"; "" for a check
	Index     int    // of the rule in the document; -1 for a check
	ID, Name  string // of the rule
	Grant     *Grant
	Guardrail *Guardrail
	Ruling    Ruling
	Miss      Miss        // why it does not match
	Condition *Evaluation // of the rule's condition, if who and when match
	Require   *Evaluation // of what a matching guardrail requires
	Decides   bool        // this step settled it
	Moot      bool        // a step before has denied already
	server    *Server
	open      bool // it asks about arguments that are not known
}

// Matched reports whether the step is a rule that matches the call.
func (s *Step) Matched() bool { return s.Rule != "" && s.Ruling != RulingMiss }

// MissCondition says that the condition of a rule is not true of the call, or of a guardrail that it is false.
const MissCondition Miss = "condition"

// MissTaint says that the session of the caller is not tainted as a guardrail has it, or that a list does not tell.
const MissTaint Miss = "taint"

// Evaluation is what an expression of a rule came to.
type Evaluation struct {
	Expression string `json:"expression"`
	Value      bool   `json:"value"`
	Error      string `json:"error,omitempty"` // it has no value
}

// Trace says what becomes of a call, and why. It goes on after a denial, so that a reader sees what else would stand in
// the way. Of a resource that several templates match, it has the steps of each.
func (ix *Index) Trace(r Request) Trace {
	t := tracer{index: ix, question: question{request: r}, Trace: Trace{Verdict: ix.Decide(r)}}
	s := ix.servers[r.Server]
	found := ix.candidates(s, r)
	t.offered(s, found)
	if s != nil && r.Principal != nil {
		t.caller = ix.terms.resolve(r.Principal, nil)
		for _, i := range found {
			t.rules(s, &s.Tools[i])
		}
	}
	t.settle()
	if s != nil && r.Principal != nil && (t.Reason == ReasonNoGrant || t.Reason == ReasonConditionNotMet) {
		t.Nearest = t.nearest(s, found)
	}
	return t.Trace
}

// candidates returns the places, in s.Tools, of what the call is judged by: one tool, or each template that the URI
// matches.
func (ix *Index) candidates(s *server, r Request) []int {
	if s == nil {
		return nil
	}
	if i, ok := s.offers(r.Kind)[r.Name]; ok {
		return []int{i}
	}
	if r.Kind != KindResource {
		return nil
	}
	var found []int
	for _, t := range s.templates {
		if t.pattern.MatchString(r.Name) {
			found = append(found, t.tool)
		}
	}
	return found
}

// tracer makes a Trace.
type tracer struct {
	Trace
	index *Index
	question
	caller caller
}

// offered adds the checks of the first stage.
func (t *tracer) offered(s *server, found []int) {
	check := func(what string, tool *Tool, ok bool) {
		step := Step{Stage: StageOffer, Check: what, Tool: tool, Index: -1, Ruling: RulingPass}
		if !ok {
			step.Ruling = RulingDeny
		}
		if s != nil {
			step.server = s.Server
		}
		t.Steps = append(t.Steps, step)
	}
	check("server", nil, s != nil && s.State == Active)
	if s == nil {
		return
	}
	if len(found) == 0 {
		check("tool", nil, false)
	}
	for _, i := range found {
		check("tool", &s.Tools[i], true)
		check("definition", &s.Tools[i], !s.Tools[i].Held)
	}
}

// rules adds every rule that reaches a tool, by stage.
func (t *tracer) rules(s *server, tool *Tool) {
	t.turn(s.Server, tool)
	var denies, obliges []Step
	for _, g := range tool.Guardrails {
		step := t.guardrail(s, tool, g)
		if step.Stage == StageDeny {
			denies = append(denies, step)
		} else {
			obliges = append(obliges, step)
		}
	}
	slices.SortStableFunc(obliges, func(a, b Step) int { return a.Guardrail.Effect.turn() - b.Guardrail.Effect.turn() })
	t.Steps = append(t.Steps, denies...)
	for _, g := range tool.Grants {
		t.Steps = append(t.Steps, t.grant(s, tool, g))
	}
	t.Steps = append(t.Steps, obliges...)
}

// turn is when an obligation is looked at.
func (e *Effect) turn() int {
	switch {
	case e.MFA:
		return 1
	case e.StepUp != nil:
		return 2
	case e.Require != "":
		return 3
	case e.Approval != nil:
		return 4
	case e.RateLimit != nil:
		return 5
	case e.TokenBudget != nil:
		return 6
	}
	return 7
}

func (t *tracer) grant(s *server, tool *Tool, g int) Step {
	rule := &t.index.document.Grants[g]
	step := Step{
		Stage: StageGrant, Tool: tool, Rule: "grant", Index: g, ID: rule.ID, Name: rule.Name, Grant: rule,
		Ruling: RulingAllow, server: s.Server,
	}
	if step.Miss = t.index.grants[g].misses(&t.caller, &t.question); step.Miss != "" {
		step.Ruling = RulingMiss
	}
	if step.Miss == "" || step.Miss == MissCondition {
		step.Condition, step.open = t.evaluation(t.index.grants[g].condition), t.asks(t.index.grants[g].condition)
	}
	return step
}

func (t *tracer) guardrail(s *server, tool *Tool, g int) Step {
	rule := &t.index.document.Guardrails[g]
	step := Step{
		Stage: StageOblige, Tool: tool, Rule: "guardrail", Index: g, ID: rule.ID, Name: rule.Name, Guardrail: rule,
		Ruling: RulingLimit, server: s.Server,
	}
	if rule.Effect.Deny {
		step.Stage = StageDeny
	}
	step.Miss = t.index.guardrails[g].misses(&t.caller, &t.question)
	if step.Miss == "" || step.Miss == MissCondition {
		step.Condition, step.open = t.evaluation(t.index.guardrails[g].condition), t.asks(t.index.guardrails[g].condition)
	}
	if step.Miss != "" {
		step.Ruling = RulingMiss
		step.open = step.open || step.Miss == MissTaint && t.listing
		return step
	}
	switch {
	case rule.Effect.Deny:
		step.Ruling = RulingDeny
	case rule.Effect.MFA:
		step.Ruling = demanded(t.caller.SecondFactor())
	case rule.Effect.StepUp != nil:
		step.Ruling = demanded(rule.Effect.StepUp.Met(t.caller.Principal, t.request.Now))
	case rule.Effect.Require != "":
		step.Require = t.evaluation(t.index.guardrails[g].require)
		step.Ruling = demanded(t.favours(t.index.guardrails[g].require))
		step.open = step.open || t.asks(t.index.guardrails[g].require)
	case rule.Effect.Approval != nil:
		step.Ruling = RulingHold
	}
	return step
}

// asks reports whether an expression is about arguments that are not known.
func (t *tracer) asks(c *condition) bool { return c != nil && t.listing && c.usesArgs }

func demanded(met bool) Ruling {
	if met {
		return RulingMet
	}
	return RulingDeny
}

// settle marks the step that the verdict comes from, and those after a denial.
func (t *tracer) settle() {
	for i := range t.Steps {
		step := &t.Steps[i]
		if t.Deciding == nil && t.decides(step) {
			step.Decides, t.Deciding = true, step
			continue
		}
		step.Moot = t.Deciding != nil && t.Outcome == Deny
	}
}

// decides reports whether the verdict comes from the step.
func (t *tracer) decides(s *Step) bool {
	if s.Rule == "" {
		return s.Ruling == RulingDeny && (t.Reason == s.denial() && (s.Tool == nil || s.Tool == t.Tool))
	}
	if s.Tool != t.Tool {
		return t.Outcome == Hold && s.Ruling == RulingHold && s.Index == t.Guardrail
	}
	switch t.Reason {
	case ReasonAllowed:
		return s.Rule == "grant" && s.Index == t.Grant
	case ReasonConditionNotMet:
		return s.Rule == "grant" && s.Miss == MissCondition
	case ReasonDeniedByGuardrail, ReasonMFARequired, ReasonStepUpRequired, ReasonRequirementNotMet, ReasonApprovalRequired:
		return s.Rule == "guardrail" && s.Index == t.Guardrail
	case ReasonUnknownServer, ReasonUnknownTool, ReasonSuspended, ReasonDrifted, ReasonNoGrant:
	}
	return false
}

// denial is the reason that a check which fails gives.
func (s *Step) denial() Reason {
	switch {
	case s.Check == "definition":
		return ReasonDrifted
	case s.Check == "tool":
		return ReasonUnknownTool
	case s.server == nil:
		return ReasonUnknownServer
	}
	return ReasonSuspended
}
