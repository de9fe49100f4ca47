package policy

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Error says which part of a rule, document or call is wrong. Of what was given
// its text repeats at most the name of a member, shortened and escaped.
type Error struct {
	Field string // path such as "subject.users[2]"; "" is the whole
	Msg   string // what is wrong with it, to follow its name
}

// Error returns the field and what is wrong with it.
func (e *Error) Error() string {
	if e.Field == "" {
		return e.Msg
	}
	return e.Field + " " + e.Msg
}

func wrong(field, msg string) *Error { return &Error{Field: field, Msg: msg} }

// inField puts the field of err, which validation made, inside a larger one.
func inField(field string, err error) error {
	var inner *Error
	if !errors.As(err, &inner) {
		return err
	}
	switch {
	case inner.Field == "":
		return wrong(field, inner.Msg)
	case strings.HasPrefix(inner.Field, "["):
		return wrong(field+inner.Field, inner.Msg)
	default:
		return wrong(field+"."+inner.Field, inner.Msg)
	}
}

// Limits on a rule. They bound what one rule costs every gateway.
const (
	maxPatterns      = 1000
	maxPatternBytes  = 512
	maxNameBytes     = 2048
	maxLimitCalls    = 1_000_000
	maxLimitSeconds  = 24 * 3600
	maxBudgetTokens  = 1_000_000_000
	maxResponseBytes = 1 << 30
)

// Validate reports what is wrong with s as the subject of a grant or guardrail,
// as an *Error.
func (s Subject) Validate() error {
	named := len(s.Users) + len(s.Groups) + len(s.Agents) + len(s.Models)
	switch {
	case s.Everyone && named > 0:
		return wrong("everyone", "cannot be said together with users, groups, agents or models")
	case !s.Everyone && named == 0:
		return wrong("", "names nobody; say everyone if you mean it")
	case s.AllowDeclared && len(s.Models) == 0:
		return wrong("allow_declared", "means something only with models")
	}
	for _, list := range []struct {
		field    string
		patterns []string
	}{{"users", s.Users}, {"groups", s.Groups}, {"agents", s.Agents}, {"models", s.Models}} {
		if err := validatePatterns(list.patterns); err != nil {
			return inField(list.field, err)
		}
	}
	return nil
}

// isZero reports whether s says nothing at all.
func (s Subject) isZero() bool {
	return !s.Everyone && !s.AllowDeclared && len(s.Users)+len(s.Groups)+len(s.Agents)+len(s.Models) == 0
}

// validateExcept reports what is wrong with s as an exception.
func (s Subject) validateExcept() error {
	if s.isZero() {
		return nil
	}
	if s.Everyone {
		return wrong("everyone", "cannot be an exception: the guardrail would never hold")
	}
	return s.Validate()
}

// Validate reports what is wrong with r, as an *Error.
func (r Resource) Validate() error {
	if len(r.Servers)+len(r.Labels) == 0 {
		return wrong("servers", "or labels must be given; say * if you mean all")
	}
	for _, list := range []struct {
		field    string
		patterns []string
	}{{"servers", r.Servers}, {"labels", r.Labels}, {"names", r.Names}, {"tool_labels", r.ToolLabels}} {
		if err := validatePatterns(list.patterns); err != nil {
			return inField(list.field, err)
		}
	}
	for i, k := range r.Kinds {
		if !k.Known() {
			return wrong(fmt.Sprintf("kinds[%d]", i), "is not tool, prompt or resource")
		}
	}
	for i, k := range r.Risks {
		if !k.Known() {
			return wrong(fmt.Sprintf("risks[%d]", i), "is not read_only, write or destructive")
		}
	}
	return nil
}

// Validate reports what is wrong with e, as an *Error.
func (e Effect) Validate() error {
	given := 0
	for _, one := range []bool{
		e.Deny, e.Approval != nil, e.MFA, e.RateLimit != nil, e.Require != "", e.TokenBudget != nil, e.MaxResponseBytes != 0, e.StepUp != nil,
	} {
		if one {
			given++
		}
	}
	if given != 1 {
		return wrong("", "must be exactly one of deny, approval, mfa, step_up, rate_limit, require, token_budget and max_response_bytes")
	}
	if e.Tainted != nil {
		if err := e.Tainted.validate(); err != nil {
			return inField("tainted", err)
		}
	}
	switch {
	case e.StepUp != nil:
		if err := e.StepUp.validate(); err != nil {
			return inField("step_up", err)
		}
	case e.Require != "":
		return CheckCondition("require", e.Require)
	case e.TokenBudget != nil:
		if err := e.TokenBudget.validate(); err != nil {
			return inField("token_budget", err)
		}
	case e.MaxResponseBytes < 0 || e.MaxResponseBytes > maxResponseBytes:
		return wrong("max_response_bytes", "must be from 1 to 1,073,741,824, a GiB")
	case e.Approval != nil:
		if err := e.Approval.validate(); err != nil {
			return inField("approval", err)
		}
	case e.RateLimit != nil:
		if err := e.RateLimit.validate(); err != nil {
			return inField("rate_limit", err)
		}
	}
	return nil
}

func (l RateLimit) validate() error {
	switch {
	case l.Calls < 1 || l.Calls > maxLimitCalls:
		return wrong("calls", "must be from 1 to 1,000,000")
	case l.Seconds < 1 || l.Seconds > maxLimitSeconds:
		return wrong("seconds", "must be from 1 to 86,400, a day")
	}
	return nil
}

func (b TokenBudget) validate() error {
	switch {
	case b.Tokens < 1 || b.Tokens > maxBudgetTokens:
		return wrong("tokens", "must be from 1 to 1,000,000,000")
	case b.Seconds < 1 || b.Seconds > maxLimitSeconds:
		return wrong("seconds", "must be from 1 to 86,400, a day")
	}
	return nil
}

func validatePatterns(patterns []string) error {
	if len(patterns) > maxPatterns {
		return wrong("", "has more than 1,000 entries")
	}
	for i, p := range patterns {
		if problem := textProblem(p, maxPatternBytes); problem != "" {
			return wrong(fmt.Sprintf("[%d]", i), problem)
		}
	}
	return nil
}

// textProblem says what is wrong with a name or pattern, "" for nothing.
func textProblem(s string, limit int) string {
	switch {
	case s == "":
		return "is empty"
	case len(s) > limit:
		return fmt.Sprintf("is longer than %d bytes", limit)
	case !utf8.ValidString(s):
		return "is not UTF-8"
	case strings.ContainsFunc(s, unicode.IsControl):
		return "holds a control character"
	}
	return ""
}
