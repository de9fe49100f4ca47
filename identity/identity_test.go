package identity

import (
	"errors"
	"testing"

	"countersign/internal/problem"
)

func person(roles ...Role) Principal {
	return Principal{Kind: Person, ID: "per_1", SessionID: "ses_1", Roles: roles}
}

func member(teams ...string) Principal {
	p := person(Viewer)
	p.Teams = teams
	return p
}

func TestCan(t *testing.T) {
	t.Parallel()
	machine := Principal{Kind: Client, ID: "cli_1", Roles: []Role{Admin}}
	ours := Principal{Kind: Client, ID: "cli_2", Teams: []string{"tem_1"}}
	gateway := Principal{Kind: Gateway, ID: "gtw_1", Roles: []Role{Admin}}
	tests := []struct {
		name string
		who  Principal
		do   Action
		team string
		want problem.Kind // 0: allowed
	}{
		{"nobody may read", Principal{}, ReadRegistry, "", problem.Unauthenticated},
		{"a viewer reads", person(Viewer), ReadRegistry, "", 0},
		{"a person without a role reads nothing", person(), ReadRegistry, "", problem.Forbidden},
		{"an admin pins", person(Admin), PinDefinition, "tem_1", 0},
		{"an owner pins their own", member("tem_1"), PinDefinition, "tem_1", 0},
		{"an owner pins no other team's", member("tem_2"), PinDefinition, "tem_1", problem.Forbidden},
		{"no team never matches", member(""), PinDefinition, "", problem.Forbidden},
		{"a machine never pins", machine, PinDefinition, "tem_1", problem.Forbidden},
		{"a machine never enrols, nor creates credentials", machine, EnrolGateway, "", problem.Forbidden},
		{"nor when it claims a session", Principal{Kind: Client, Roles: []Role{Admin}, SessionID: "ses_1"}, Vote, "", problem.Forbidden},
		{"a machine of a team changes its servers", ours, ChangeServer, "tem_1", 0},
		{"and no other team's", ours, ChangeServer, "tem_2", problem.Forbidden},
		{"and does not pin them either", ours, PinDefinition, "tem_1", problem.Forbidden},
		{"a machine without a role reads nothing", Principal{Kind: Client, ID: "cli_3"}, ReadRegistry, "", problem.Forbidden},
		{"a machine may register", machine, RegisterServer, "", 0},
		{"a team member registers", member("tem_1"), RegisterServer, "", 0},
		{"a viewer does not register", person(Viewer), RegisterServer, "", problem.Forbidden},
		{"a machine never votes", machine, Vote, "", problem.Forbidden},
		{"a gateway enforces", gateway, Enforce, "", 0},
		{"an admin is no gateway", person(Admin), Enforce, "", problem.Forbidden},
		{"a gateway reads how far the policy has come", gateway, ReadRollout, "", 0},
		{"a person without a role does not", person(), ReadRollout, "", problem.Forbidden},
		{"a gateway reads no registry, whatever it claims", gateway, ReadRegistry, "", problem.Forbidden},
		{"an auditor reads the log", person(Auditor), ReadAudit, "", 0},
		{"an approver does not", person(Approver), ReadAudit, "", problem.Forbidden},
		{"an action nobody declared", person(Admin), Action("made.up"), "", problem.Forbidden},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := tt.who.Can(tt.do, tt.team)
			var p *problem.Error
			switch {
			case tt.want == 0 && err != nil:
				t.Fatalf("refused: %v", err)
			case tt.want != 0 && (!errors.As(err, &p) || p.Kind != tt.want):
				t.Fatalf("got %v, want kind %v", err, tt.want)
			}
		})
	}
}
