package policy_test

import (
	"encoding/json"
	"slices"

	"countersign/policy"
)

// saying is what the oracle finds an expression to say of a call.
type saying int

const (
	isFalse saying = iota
	isTrue
	isBroken // it cannot be evaluated
)

// asOf is all that an expression can ask about.
type asOf struct {
	r    policy.Request
	s    policy.Server
	t    policy.Tool
	args map[string]any // nil: they cannot be read
}

func sayingOf(yes bool) saying {
	if yes {
		return isTrue
	}
	return isFalse
}

// orElse is CEL's ||, which an error on one side does not spoil where the other is true.
func orElse(a, b saying) saying {
	switch {
	case a == isTrue || b == isTrue:
		return isTrue
	case a == isBroken || b == isBroken:
		return isBroken
	}
	return isFalse
}

func atMost(v any, most float64) saying {
	n, ok := v.(float64)
	if !ok {
		return isBroken
	}
	return sayingOf(n <= most)
}

// oracleExpressions are what the random worlds say, each with an evaluator of its own.
var oracleExpressions = map[string]func(asOf) saying{
	"true":        func(asOf) saying { return isTrue },
	"args.n <= 2": func(a asOf) saying { return atMost(a.args["n"], 2) },
	"args.n":      func(a asOf) saying { yes, ok := a.args["n"].(bool); return broken(ok, yes) },
	`!has(args.n) || args.n > 1`: func(a asOf) saying {
		if _, has := a.args["n"]; !has {
			return broken(a.args != nil, true)
		}
		n, ok := a.args["n"].(float64)
		return broken(ok, n > 1)
	},
	`args.s == "x" || args.n <= 1`: func(a asOf) saying {
		s, has := a.args["s"]
		return orElse(broken(has, s == "x"), atMost(a.args["n"], 1))
	},
	`args.l.exists(x, x <= 1)`: func(a asOf) saying {
		l, ok := a.args["l"].([]any)
		if m, object := a.args["l"].(map[string]any); object && len(m) == 0 {
			return isFalse // of an object the names are gone through
		}
		found := broken(ok, false)
		for _, x := range l {
			found = orElse(found, atMost(x, 1))
		}
		return found
	},
	`principal.agent == "cursor"`: func(a asOf) saying { return broken(a.r.Principal.Agent != "", a.r.Principal.Agent == "cursor") },
	`"dev" in principal.groups`: func(a asOf) saying {
		return broken(a.r.Principal.Groups != nil, slices.Contains(a.r.Principal.Groups, "dev"))
	},
	`has(principal.amr)`:             func(a asOf) saying { return sayingOf(len(a.r.Principal.AMR) > 0) },
	`tool.risk != "destructive"`:     func(a asOf) saying { return sayingOf(a.t.Risk != policy.Destructive) },
	`server.team == "t1"`:            func(a asOf) saying { return sayingOf(a.s.Team == "t1") },
	`now <= timestamp("` + at + `")`: func(a asOf) saying { return sayingOf(!a.r.Now.After(noon)) },
	`args.uri.startsWith("db://2")`: func(a asOf) saying {
		u, ok := a.args["uri"].(string)
		return broken(ok, len(u) > 5 && u[:6] == "db://2")
	},
	`principal.model == "claude"`: func(a asOf) saying { return broken(a.r.Principal.Model != "", a.r.Principal.Model == "claude") },
	`size(principal.groups) > args.n`: func(a asOf) saying {
		n, ok := a.args["n"].(float64)
		return broken(ok && a.r.Principal.Groups != nil, float64(len(a.r.Principal.Groups)) > n)
	},
}

const at = "2026-11-02T12:00:00Z"

func broken(ok, yes bool) saying {
	if !ok {
		return isBroken
	}
	return sayingOf(yes)
}

// oracleArguments are those of the random worlds, and whether they can be read.
var oracleArguments = map[string]bool{
	``: true, `{}`: true, `{"n":1}`: true, `{"n":2.0}`: true, `{"n":2.5}`: true, `{"n":3e0,"s":"x"}`: true, `{"n":"1"}`: true,
	`{"n":true}`: true, `{"n":null}`: true, `{"s":"x"}`: true, `{"l":[2,"a",1]}`: true, `{"l":[3]}`: true, `{"l":{}}`: true, `{"uri":"db://2/3"}`: true,
	`{"n":1,"n":1}`: false, `{"n":1,"m":1e400}`: false, `[]`: false, `null`: false, `{"n":1`: false, `{"n":1,"N":1}`: false,
	`{"n":0.30000000000000001}`: false,
}

// oracleSays evaluates an expression; none is true.
func oracleSays(expr string, s policy.Server, t policy.Tool, r policy.Request) saying {
	if expr == "" {
		return isTrue
	}
	a := asOf{r: r, s: s, t: t}
	if oracleArguments[string(r.Arguments)] {
		a.args = map[string]any{}
		if len(r.Arguments) > 0 {
			_ = json.Unmarshal(r.Arguments, &a.args) // one of the table
		}
	}
	return oracleExpressions[expr](a)
}

// oracleKnows reports whether the oracle can tell what all expressions of src say of r.
func oracleKnows(src policy.Source, r policy.Request) bool {
	known := func(expr string) bool { return expr == "" || oracleExpressions[expr] != nil }
	_, read := oracleArguments[string(r.Arguments)]
	for _, g := range src.Grants {
		read = read && known(g.Condition)
	}
	for _, g := range src.Guardrails {
		read = read && known(g.Condition) && known(g.Effect.Require)
	}
	return read
}
