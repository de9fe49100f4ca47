package policy_test

import (
	"testing"
	"time"

	"countersign/canonical"
	"countersign/policy"
)

func TestReachesServer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		r    policy.Resource
		want bool
	}{
		{"its name, ignoring case", policy.Resource{Servers: []string{"COM.example/orders"}}, true},
		{"its family", policy.Resource{Servers: []string{"com.example/*"}}, true},
		{"another name", policy.Resource{Servers: []string{"com.example/billing"}}, false},
		{"its label", policy.Resource{Labels: []string{"pr*"}}, true},
		{"its name but another label", policy.Resource{Servers: []string{"*"}, Labels: []string{"test"}}, false},
		{"nothing said", policy.Resource{}, false},
	} {
		if got := tt.r.ReachesServer("com.example/orders", []string{"prod"}); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestGranted(t *testing.T) {
	t.Parallel()
	source := policy.Source{
		Issuer: "https://c.example", Audience: "aud", Epoch: 1, Generation: 1, MaxStaleSeconds: 300,
		Servers: []policy.Server{{
			ID: "srv_1", Name: "com.example/orders", State: policy.Active, Team: "tem_1",
			Endpoint: policy.Endpoint{Transport: policy.StreamableHTTP, URL: "https://o.example/mcp", Digest: canonical.Sum("e", nil)},
			Tools:    []policy.Tool{{ID: "tol_1", Kind: policy.KindTool, Name: "list", Risk: policy.ReadOnly, Definition: canonical.Sum("d", nil), Held: true}},
		}},
		Grants: []policy.SourceGrant{{
			Grant:    policy.Grant{ID: "grt_1", Name: "g", Subject: policy.Subject{Users: []string{"tomas"}}},
			Resource: policy.Resource{Servers: []string{"*"}},
		}},
	}
	document, _, err := policy.Compile(source, time.Unix(0, 0).UTC())
	if err != nil {
		t.Fatal(err)
	}
	index, err := policy.NewIndex(document)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		who, tool string
		want      bool
	}{{"tomas", "list", true}, {"priya", "list", false}, {"tomas", "other", false}} {
		r := policy.Request{Server: "com.example/orders", Kind: policy.KindTool, Name: tt.tool, Principal: &policy.Principal{Issuer: "i", Subject: tt.who}}
		if got := index.Granted(r); got != tt.want {
			t.Errorf("%s, %s: granted %v, want %v", tt.who, tt.tool, got, tt.want)
		}
		if v := index.Decide(r); v.Outcome != policy.Deny {
			t.Errorf("%s, %s: %v, want a denial: it is held", tt.who, tt.tool, v.Outcome)
		}
	}
}
