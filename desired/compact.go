package desired

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"countersign/policy"
)

// access is the short form of who may call the tools of one server. It is expanded while it is read: a set knows only
// grants and guardrails.
type access struct {
	server string
	who    policy.Subject
	tools  []shortTool
}

// shortTool is one line of it.
type shortTool struct {
	node   ast.Node
	path   string // of its fields
	name   string
	models []string
	who    policy.Subject // instead of that of the whole
	limit  *Rate
	mfa    bool

	condition string // when it may be called
	require   string
	budget    *Budget
	most      int64 // bytes of a result
}

// access reads one entry of the list of that name.
func (c *collector) access(n ast.Node) {
	var a access
	before := len(c.faults)
	c.object(n, "an entry of access",
		field{"server", true, c.text(&a.server)},
		field{"for", false, c.subject(&a.who)},
		field{"tools", true, c.toolsOf(&a)})
	if len(c.faults) == before {
		c.expand(a)
	}
}

// bare takes the short form that is the whole file.
func (c *collector) bare(file ast.Node, a *access) {
	said := func(part string) bool { _, ok := c.places[part]; return ok }
	switch {
	case said("tools") && !said("server"):
		c.faults = append(c.faults, Fault{c.places["tools"], "these tools are of no server; say server: com.example/name beside them"})
	case !said("tools") && (said("server") || said("for")):
		c.fault(file, "server and for are for a list of tools in the same file; expected tools")
	default:
		c.expand(*a)
	}
}

func (c *collector) toolsOf(a *access) func(ast.Node) {
	return c.list(func(n ast.Node) {
		t := shortTool{node: n, path: c.path}
		before := len(c.faults)
		c.object(n, "a tool",
			field{"name", true, c.text(&t.name)},
			field{"allowed_models", false, c.texts(&t.models)},
			field{"for", false, c.subject(&t.who)},
			field{"rate_limit", false, parsed(&c.reader, ParseRate, func(v Rate) { t.limit = &v })},
			field{"require_mfa", false, c.truth(&t.mfa)},
			field{"condition", false, c.text(&t.condition)},
			field{"require", false, c.text(&t.require)},
			field{"token_budget", false, parsed(&c.reader, ParseBudget, func(v Budget) { t.budget = &v })},
			field{"max_response_bytes", false, number(&c.reader, &t.most)})
		if len(c.faults) == before {
			a.tools = append(a.tools, t)
		}
	})
}

// expand makes the grant and the guardrails of each tool. A condition is the grant's; limits, MFA and what is required
// hold for everyone who calls the tool, as a reader takes them to. Who may call is never implied.
func (c *collector) expand(a access) {
	for _, t := range a.tools {
		who, ok := c.callers(a, t)
		if !ok {
			continue
		}
		on := policy.Resource{Servers: []string{a.server}, Names: []string{t.name}}
		name := func(what string) string { return shortened(t.name+" of "+a.server+what, 200) }
		g := Grant{Key: shortKey(a.server, t.name, "allow"), Name: name(""), For: who, On: on, Condition: t.condition}
		if !c.claim(t.node, g.Path("")) {
			continue
		}
		c.point(t, g.Path)
		c.set.Grants = append(c.set.Grants, g)
		for _, rail := range t.guardrails() {
			rail.Key, rail.Name = shortKey(a.server, t.name, rail.Key), name(rail.Name)
			rail.For, rail.On = policy.Subject{Everyone: true}, on
			if c.claim(t.node, rail.Path("")) {
				c.point(t, rail.Path)
				c.set.Guardrails = append(c.set.Guardrails, rail)
			}
		}
	}
}

// point says where the fields of a rule are that the line has by the same name.
func (c *collector) point(t shortTool, path func(string) string) {
	for _, field := range []string{"condition", "require", "rate_limit", "token_budget", "max_response_bytes"} {
		if place, said := c.places[t.path+"."+field]; said {
			c.all[path(field)] = place
		}
	}
}

// guardrails are what the line demands of every call, with the ends of their keys and names.
func (t shortTool) guardrails() []Guardrail {
	var all []Guardrail
	if t.limit != nil {
		all = append(all, Guardrail{Key: "rate", Name: " within a rate", RateLimit: t.limit})
	}
	if t.mfa {
		all = append(all, Guardrail{Key: "mfa", Name: " with MFA", MFA: true})
	}
	if t.require != "" {
		all = append(all, Guardrail{Key: "require", Name: " as required", Require: t.require})
	}
	if t.budget != nil {
		all = append(all, Guardrail{Key: "tokens", Name: " within a token budget", TokenBudget: t.budget})
	}
	if t.most != 0 {
		all = append(all, Guardrail{Key: "size", Name: " with a bounded result", MaxResponseBytes: t.most})
	}
	return all
}

// callers says who the grant of a tool is for: those of its own for, or else of that of the whole, as far as they use
// one of the allowed models.
func (c *collector) callers(a access, t shortTool) (policy.Subject, bool) {
	who := a.who
	if !isZero(t.who) {
		who = t.who
	}
	switch {
	case len(t.models) == 0 && isZero(who):
		c.fault(t.node, "nobody is said to call %s; expected allowed_models, or for. Say for: {everyone: true} if you mean it", quoted(t.name))
		return who, false
	case len(t.models) > 0 && len(who.Models) > 0:
		c.fault(t.node, "the models of %s are said twice; expected allowed_models or for.models", quoted(t.name))
		return who, false
	case len(t.models) > 0:
		who.Models, who.Everyone = t.models, false
	}
	return who, true
}

func isZero(s policy.Subject) bool {
	return !s.Everyone && !s.AllowDeclared && len(s.Users)+len(s.Groups)+len(s.Agents)+len(s.Models) == 0
}

var plainKey = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

// shortKey is the key of a rule of the short form: com.acme-db.db_query.allow. Where that could be the key of another
// tool as well, or is no key, a digest of both names tells them apart.
func shortKey(server, tool, what string) string {
	server = strings.ToLower(server)
	domain, name, _ := strings.Cut(server, "/")
	key := domain + "-" + name + "." + tool
	if strings.Contains(domain, "-") || strings.Contains(tool, ".") || !plainKey.MatchString(key) || len(key) > 80 {
		sum := sha256.Sum256([]byte(server + "\x00" + tool))
		key = keyed(key) + "-" + hex.EncodeToString(sum[:4])
	}
	return key + "." + what
}

var notInKey = regexp.MustCompile(`[^A-Za-z0-9._-]`)

// keyed is as much of s as a key can hold.
func keyed(s string) string {
	s = strings.TrimLeft(notInKey.ReplaceAllString(s, "-"), "._-")
	if s == "" {
		s = "server"
	}
	return s[:min(len(s), 70)]
}

func shortened(s string, most int) string {
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return s
}
