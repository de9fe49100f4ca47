package desired

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"countersign/policy"
)

// Wrong is something wrong with a set, wherever it comes from.
type Wrong struct {
	Path    string
	Message string
}

// MaxObjects is how many objects a set may have.
const MaxObjects = 20_000

var keyForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

// checker collects what is wrong, and which keys were seen.
type checker struct {
	wrong []Wrong
	seen  map[string]bool
}

// Check says all that is wrong with the set by itself: a key that is missing, misspelt or said twice, two effects, a
// selector that selects nothing. What is said of names, addresses and texts, the registry checks as it does for
// everybody.
func (s Set) Check() []Wrong {
	c := &checker{seen: map[string]bool{}}
	if n := len(s.Teams) + len(s.Servers) + len(s.Grants) + len(s.Guardrails); n > MaxObjects {
		return []Wrong{{"", fmt.Sprintf("there are %d objects; expected at most %d", n, MaxObjects)}}
	}
	for _, t := range s.Teams {
		c.named(t.Name, t.Path)
	}
	for _, server := range s.Servers {
		c.server(server)
	}
	for _, g := range s.Grants {
		c.grant(g)
	}
	for _, g := range s.Guardrails {
		c.guardrail(g)
	}
	return c.wrong
}

func (c *checker) add(path, format string, args ...any) {
	c.wrong = append(c.wrong, Wrong{path, fmt.Sprintf(format, args...)})
}

func (c *checker) once(path string) {
	if c.seen[path] {
		c.add(path, "%s is said twice; expected it once", Visible(path))
	}
	c.seen[path] = true
}

func (c *checker) named(name string, path func(string) string) {
	if name == "" {
		c.add(path("name"), "name is missing")
	}
	c.once(path(""))
}

func (c *checker) keyed(key string, path func(string) string) {
	if !keyForm.MatchString(key) {
		c.add(path("key"), "key is %s; expected up to 100 letters, digits, dots, hyphens and underscores, as orders.readers", quoted(key))
	}
	c.once(path(""))
}

func (c *checker) server(s Server) {
	c.named(s.Name, s.Path)
	if s.Team == "" {
		c.add(s.Path("team"), "team is missing; expected the name of the team that owns the server")
	}
	switch {
	case s.URL != "" && s.Command != "":
		c.add(s.Path("command"), "url and command are both given; expected one of them")
	case (s.Command == "") != (s.CommandDigest == ""):
		c.add(s.Path("command_digest"), "expected command and command_digest together, as the gateway reports them")
	}
	switch s.State {
	case "", Active, Suspended, Retired:
	default:
		c.add(s.Path("state"), "state is %s; expected active, suspended or retired", quoted(string(s.State)))
	}
}

func (c *checker) grant(g Grant) {
	c.keyed(g.Key, g.Path)
	c.rule(g.For.Validate(), g.Path, "for")
	c.rule(g.On.Validate(), g.Path, "on")
	c.condition(g.Condition, g.Path)
	if g.From != nil && g.Until != nil && !g.From.Before(*g.Until) {
		c.add(g.Path("until"), "until is not after from")
	}
}

func (c *checker) guardrail(g Guardrail) {
	c.keyed(g.Key, g.Path)
	c.rule(g.For.Validate(), g.Path, "for")
	c.rule(g.On.Validate(), g.Path, "on")
	c.condition(g.Condition, g.Path)
	if g.Except.Everyone {
		c.add(g.Path("except.everyone"), "except.everyone cannot be: the guardrail would never hold")
	} else if !isZero(g.Except) {
		c.rule(g.Except.Validate(), g.Path, "except")
	}
	c.rule(g.Effect().Validate(), g.Path, "")
}

func (c *checker) condition(expr string, path func(string) string) {
	if expr != "" {
		c.rule(policy.CheckCondition("", expr), path, "condition")
	}
}

// spanFields are the names that times have in files, where they say their unit.
var spanFields = strings.NewReplacer(
	"pending_seconds", "pending", "after_seconds", "after", "max_age_seconds", "max_age", "max_seconds", "within", "review_seconds", "review",
)

// rule tells what policy finds wrong with a part of a rule, in the words of a set.
func (c *checker) rule(err error, path func(string) string, part string) {
	var wrong *policy.Error
	switch {
	case err == nil:
	case errors.As(err, &wrong):
		field := spanFields.Replace(wrong.Field)
		field = strings.Trim(part+"."+field, ".")
		c.add(path(field), "%s %s", cmp.Or(field, "the effect"), wrong.Msg)
	default:
		c.add(path(part), "%s cannot be used", part)
	}
}
