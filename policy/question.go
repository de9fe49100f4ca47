package policy

// question is what the rules of one tool after the other are asked about a call, beside who makes it: a caller is kept
// apart, as nothing of it outlives Decide.
type question struct {
	request Request
	listing bool // the arguments are not known yet
	server  *Server
	tool    *Tool
	unmet   bool   // a grant of the tool allows the call but for its condition
	facts   *facts // nil until the first expression asks
}

// turn puts the question to the rules of another tool.
func (q *question) turn(s *Server, t *Tool) { q.server, q.tool, q.unmet = s, t, false }

// favours reports whether an expression lets the call have something: only if it is true. Where the arguments are not
// known, one that asks about them does.
func (q *question) favours(c *condition) bool {
	if q.listing && c.usesArgs {
		return true
	}
	a := q.ask(c)
	return a.yes && a.err == nil
}

// restrains reports whether an expression lets a guardrail hold: unless it is false. Where the arguments are not known,
// one that asks about them does not.
func (q *question) restrains(c *condition) bool {
	if q.listing && c.usesArgs {
		return false
	}
	a := q.ask(c)
	return a.yes || a.err != nil
}

func (q *question) ask(c *condition) answer {
	if q.facts == nil {
		q.facts = newFacts(q.request)
	}
	q.facts.turn(q.server, q.tool)
	return q.facts.evaluate(c)
}

// evaluation is what c came to, for people to read; nil for no expression.
func (q *question) evaluation(c *condition) *Evaluation {
	if c == nil {
		return nil
	}
	if q.listing && c.usesArgs {
		return &Evaluation{Expression: c.text, Error: "the arguments are not known"}
	}
	a := q.ask(c)
	e := &Evaluation{Expression: c.text, Value: a.yes && a.err == nil}
	if a.err != nil {
		e.Error = firstLine(a.err.Error())
	}
	return e
}
