package delivery

import (
	"strings"

	"countersign/policy"
)

// subjectData is a policy.Subject for the module: exact names as members, patterns as regular expressions.
type subjectData struct {
	Agents        *namesData `json:"agents,omitempty"`
	AllowDeclared bool       `json:"allow_declared,omitempty"`
	Everyone      bool       `json:"everyone,omitempty"`
	Groups        *namesData `json:"groups,omitempty"`
	Kinds         []string   `json:"kinds,omitempty"` // those that are given: each has to match
	Models        *namesData `json:"models,omitempty"`
	Users         *usersData `json:"users,omitempty"`
}

type namesData struct {
	Exact    map[string]bool `json:"exact,omitempty"`
	Patterns []string        `json:"patterns,omitempty"`
}

type usersData struct {
	Exact     map[string]bool            `json:"exact,omitempty"`     // of any issuer
	Patterns  []userPatternData          `json:"patterns,omitempty"`  // both have to match
	Qualified map[string]map[string]bool `json:"qualified,omitempty"` // by issuer, then subject
}

type userPatternData struct {
	Issuer  string `json:"issuer"`
	Subject string `json:"subject"`
}

// namesAnybody reports whether s names anybody. Only an exception may name nobody.
func namesAnybody(s policy.Subject) bool {
	return s.Everyone || len(s.Users)+len(s.Groups)+len(s.Agents)+len(s.Models) > 0
}

// subject gives the place of s.
func (b *bundler) subject(s policy.Subject) int {
	data := subjectData{Everyone: s.Everyone, AllowDeclared: s.AllowDeclared}
	if len(s.Users) > 0 {
		data.Kinds, data.Users = append(data.Kinds, "users"), newUsersData(s.Users)
	}
	for _, kind := range []struct {
		name     string
		patterns []string
		data     **namesData
	}{{"groups", s.Groups, &data.Groups}, {"agents", s.Agents, &data.Agents}, {"models", s.Models, &data.Models}} {
		if len(kind.patterns) > 0 {
			data.Kinds, *kind.data = append(data.Kinds, kind.name), newNamesData(kind.patterns)
		}
	}
	return place(b.subjects, &b.data.Subjects, data)
}

func newNamesData(patterns []string) *namesData {
	data := namesData{}
	for _, p := range patterns {
		if strings.Contains(p, "*") {
			data.Patterns = append(data.Patterns, policy.GlobExpression(p))
			continue
		}
		if data.Exact == nil {
			data.Exact = map[string]bool{}
		}
		data.Exact[p] = true
	}
	return &data
}

func newUsersData(patterns []string) *usersData {
	data := usersData{}
	for _, p := range patterns {
		issuer, subject := policy.UserPattern(p)
		switch {
		case strings.Contains(p, "*"):
			if issuer == "" {
				issuer = "*"
			}
			data.Patterns = append(data.Patterns, userPatternData{policy.GlobExpression(issuer), policy.GlobExpression(subject)})
		case issuer == "":
			if data.Exact == nil {
				data.Exact = map[string]bool{}
			}
			data.Exact[subject] = true
		default:
			if data.Qualified == nil {
				data.Qualified = map[string]map[string]bool{}
			}
			if data.Qualified[issuer] == nil {
				data.Qualified[issuer] = map[string]bool{}
			}
			data.Qualified[issuer][subject] = true
		}
	}
	return &data
}
