package auth

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5"

	"countersign/identity"
	"countersign/internal/problem"
)

// profile is what the identity provider says of somebody who signed in.
type profile struct {
	subject  string // the stable claim
	name     string
	email    string
	groups   []string
	amr      []string
	acr      string    // "" when the provider does not say
	authTime time.Time // zero when the provider does not say
}

// Bounds on what a provider may make us keep for one person.
const (
	maxText   = 500
	maxGroups = 2000
)

// member is a JSON object whose members are read one by one: claim names are configurable, and
// encoding/json would fold their case.
type member map[string]json.RawMessage

func (m member) text(name string) string {
	var s string
	if json.Unmarshal(m[name], &s) != nil {
		return ""
	}
	return plain(s)
}

// identifier reads a string that must be kept as it is, or two people could become one.
func (m member) identifier(name string) (string, error) {
	var s string
	if json.Unmarshal(m[name], &s) != nil || s == "" || plain(s) != s {
		return "", fmt.Errorf("the token lacks the claim %s, which identifies a person, or it cannot be kept", name)
	}
	return s, nil
}

// class reads the name of a context class. One that cannot be kept as it is proves nothing.
func (m member) class(name string) string {
	var s string
	if json.Unmarshal(m[name], &s) != nil || !isACR(s) {
		return ""
	}
	return s
}

// texts reads a list of strings, or a single string as some providers write a list of one. found is
// false when there is no such claim.
func (m member) texts(name string) (values []string, found bool, err error) {
	raw, found := m[name]
	if !found || string(raw) == "null" {
		return nil, false, nil
	}
	var one string
	if json.Unmarshal(raw, &one) == nil {
		values = []string{one}
	} else if err := json.Unmarshal(raw, &values); err != nil {
		return nil, true, fmt.Errorf("the claim %s is not a list of strings", name)
	}
	if len(values) > maxGroups {
		return nil, true, fmt.Errorf("the claim %s has %d values, at most %d are taken", name, len(values), maxGroups)
	}
	for _, v := range values {
		if v == "" || plain(v) != v { // a group that we would have to change is not that group
			return nil, true, fmt.Errorf("the claim %s has a value that cannot be kept", name)
		}
	}
	return values, true, nil
}

// seconds reads a NumericDate; the zero time is none.
func (m member) seconds(name string) time.Time {
	var s float64
	if json.Unmarshal(m[name], &s) != nil || s <= 0 || s > 1<<40 {
		return time.Time{}
	}
	return time.Unix(int64(s), 0).UTC()
}

// overage reports whether the provider left the claim out because it was too long, and points at
// another place instead.
func (m member) overage(claim string) bool {
	var names map[string]json.RawMessage
	return json.Unmarshal(m["_claim_names"], &names) == nil && names[claim] != nil
}

// plain makes a text fit for a column and a page: short, without control characters, and without those
// that reorder what surrounds them.
func plain(s string) string {
	s = strings.ToValidUTF8(s, "")
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return -1
		}
		return r
	}, s)
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "")
	}
	return s
}

// roles are those that the groups hold, in the order of authority.
func (c Config) roles(groups []string) []identity.Role {
	var held []identity.Role
	for _, role := range []identity.Role{identity.Viewer, identity.Auditor, identity.Approver, identity.Owner, identity.Admin} {
		if slices.ContainsFunc(c.RoleGroups[role], func(g string) bool { return g == "*" || slices.Contains(groups, g) }) {
			held = append(held, role)
		}
	}
	return held
}

func errDisabled() *problem.Error {
	return problem.New(problem.Forbidden, "person_disabled", "This account is switched off here. Ask an admin.")
}

// rememberTx creates or updates the person, and refuses one who is disabled.
func (a *Authority) rememberTx(ctx context.Context, tx pgx.Tx, p profile) (id string, err error) {
	roles := []string{}
	for _, r := range a.cfg.roles(p.groups) {
		roles = append(roles, string(r))
	}
	rows, _ := tx.Query(ctx, `
		insert into people (issuer, subject, name, email, groups, roles)
		values (@issuer, @subject, @name, @email, @groups, @roles)
		on conflict on constraint people_identity do update
		   set name = excluded.name, email = excluded.email, groups = excluded.groups, roles = excluded.roles,
		       last_seen_at = clock_timestamp()
		returning id, disabled_at is not null as disabled`,
		pgx.StrictNamedArgs{
			"issuer": a.cfg.Issuer, "subject": p.subject, "name": p.name, "email": p.email,
			"groups": orEmpty(p.groups), "roles": roles,
		})
	person, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[struct {
		ID       string
		Disabled bool
	}])
	if err != nil {
		return "", fmt.Errorf("remembering a person: %w", err)
	}
	if person.Disabled {
		return "", errDisabled()
	}
	return person.ID, nil
}

// orEmpty keeps a missing list from becoming SQL's null.
func orEmpty(values []string) []string {
	if values == nil {
		return []string{}
	}
	return values
}
