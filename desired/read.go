package desired

import (
	"fmt"

	"github.com/goccy/go-yaml/ast"
)

// File is a file of a set, with the name under which faults speak of it.
type File struct {
	Name string
	Data []byte
}

// Read reads files into one set, in their order. If anything is wrong in any of them, the error is ReadError and the set
// is empty. The places are for telling where something is that only the registry can find wrong.
func Read(files ...File) (Set, Places, error) {
	var set Set
	var faults ReadError
	total := 0
	places := Places{}
	for _, file := range files {
		if total += len(file.Data); total > maxTotalBytes {
			return Set{}, nil, ReadError{{Place{File: file.Name}, fmt.Sprintf("the files are larger than %d MiB together", maxTotalBytes>>20)}}
		}
		faults = append(faults, readFile(file, &set, places)...)
	}
	for _, wrong := range set.Check() {
		place, _ := places.Of(wrong.Path)
		faults = append(faults, Fault{place, wrong.Message})
	}
	if len(faults) > 0 {
		faults.Sort()
		return Set{}, nil, faults
	}
	return set, places, nil
}

// collector reads the objects of one file into a set.
type collector struct {
	reader
	set *Set
	all Places
}

func readFile(file File, set *Set, all Places) []Fault {
	node, fault := parse(file)
	if fault != nil {
		return []Fault{*fault}
	}
	if node == nil {
		return nil
	}
	c := &collector{reader: reader{file: file.Name, places: Places{}}, set: set, all: all}
	var short access
	isObject := c.object(node, "the file",
		field{"teams", false, c.each(c.team)},
		field{"servers", false, c.each(c.server)},
		field{"grants", false, c.each(c.grant)},
		field{"guardrails", false, c.each(c.guardrail)},
		field{"access", false, c.each(c.access)},
		field{"server", false, c.text(&short.server)},
		field{"for", false, c.subject(&short.who)},
		field{"tools", false, c.toolsOf(&short)})
	if isObject {
		c.bare(node, &short)
	}
	return c.faults
}

// each reads the objects of a list, each with paths and places of its own.
func (c *collector) each(read func(ast.Node)) func(ast.Node) {
	return c.list(func(n ast.Node) {
		path, places := c.path, c.places
		c.path, c.places = "", Places{}
		read(n)
		c.path, c.places = path, places
	})
}

// keep remembers where an object and its fields are, and reports whether it belongs into the set: it does not if
// anything is wrong with it, the count of faults having grown, or if its key is said twice.
func (c *collector) keep(n ast.Node, before int, path string) bool {
	if len(c.faults) > before || !c.claim(n, path) {
		return false
	}
	for field, place := range c.places {
		c.all[path+"."+field] = place
	}
	return true
}

// claim takes the path for what n says, unless it is taken, perhaps in another file.
func (c *collector) claim(n ast.Node, path string) bool {
	if first, twice := c.all[path]; twice {
		c.fault(n, "%s is said twice, first at %s; expected it once", Visible(path), first)
		return false
	}
	c.all[path] = c.place(n)
	return true
}

func (c *collector) team(n ast.Node) {
	var t Team
	before := len(c.faults)
	c.object(n, "a team",
		field{"name", true, c.text(&t.Name)},
		field{"groups", false, c.texts(&t.Groups)})
	if c.keep(n, before, t.Path("")) {
		c.set.Teams = append(c.set.Teams, t)
	}
}

func (c *collector) server(n ast.Node) {
	var s Server
	before := len(c.faults)
	c.object(n, "a server",
		field{"name", true, c.text(&s.Name)},
		field{"title", false, c.text(&s.Title)},
		field{"description", false, c.text(&s.Description)},
		field{"team", true, c.text(&s.Team)},
		field{"labels", false, c.texts(&s.Labels)},
		field{"client_requests", false, c.texts(&s.ClientRequests)},
		field{"url", false, c.text(&s.URL)},
		field{"command", false, c.text(&s.Command)},
		field{"command_digest", false, c.text(&s.CommandDigest)},
		field{"state", false, c.text((*string)(&s.State))})
	if c.keep(n, before, s.Path("")) {
		c.set.Servers = append(c.set.Servers, s)
	}
}

func (c *collector) grant(n ast.Node) {
	var g Grant
	before := len(c.faults)
	c.object(n, "a grant",
		field{"key", true, c.text(&g.Key)},
		field{"name", true, c.text(&g.Name)},
		field{"for", true, c.subject(&g.For)},
		field{"on", true, c.resource(&g.On)},
		field{"condition", false, c.text(&g.Condition)},
		field{"from", false, c.time(&g.From)},
		field{"until", false, c.time(&g.Until)},
		field{"reason", false, c.text(&g.Reason)})
	if c.keep(n, before, g.Path("")) {
		c.set.Grants = append(c.set.Grants, g)
	}
}

func (c *collector) guardrail(n ast.Node) {
	var g Guardrail
	before := len(c.faults)
	c.object(n, "a guardrail",
		field{"key", true, c.text(&g.Key)},
		field{"name", true, c.text(&g.Name)},
		field{"for", true, c.subject(&g.For)},
		field{"except", false, c.subject(&g.Except)},
		field{"on", true, c.resource(&g.On)},
		field{"condition", false, c.text(&g.Condition)},
		field{"deny", false, c.truth(&g.Deny)},
		field{"approval", false, c.approval(&g.Approval)},
		field{"mfa", false, c.truth(&g.MFA)},
		field{"step_up", false, c.stepUp(&g.StepUp)},
		field{"rate_limit", false, parsed(&c.reader, ParseRate, func(v Rate) { g.RateLimit = &v })},
		field{"require", false, c.text(&g.Require)},
		field{"token_budget", false, parsed(&c.reader, ParseBudget, func(v Budget) { g.TokenBudget = &v })},
		field{"max_response_bytes", false, number(&c.reader, &g.MaxResponseBytes)},
		field{"tainted", false, c.tainted(&g.Tainted)},
		field{"reason", false, c.text(&g.Reason)})
	if c.keep(n, before, g.Path("")) {
		c.set.Guardrails = append(c.set.Guardrails, g)
	}
}
