package policy_test

import (
	"testing"

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
