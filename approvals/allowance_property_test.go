package approvals

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"countersign/canonical"
	"countersign/policy"
)

// differs says, by other means than the digest, whether call is another one than approved in anything but the arguments
// that are free.
func differs(t *rapid.T, approved, call policy.Call, free []string) bool {
	pinned := func(c policy.Call) map[string]any {
		var all map[string]any
		if err := json.Unmarshal(c.Arguments, &all); err != nil {
			t.Fatal(err)
		}
		maps.DeleteFunc(all, func(name string, _ any) bool { return slices.Contains(free, name) })
		return all
	}
	if !reflect.DeepEqual(pinned(approved), pinned(call)) {
		return true
	}
	approved.Arguments, call.Arguments = nil, nil
	return !reflect.DeepEqual(approved, call)
}

// anyArguments are arguments with few names and values, so that many are alike.
func anyArguments(t *rapid.T) map[string]any {
	values := rapid.SampledFrom([]any{nil, true, 0.0, 1.0, -1.5, "", "1", "null", []any{}, []any{1.0}, map[string]any{}, map[string]any{"order": 1.0}})
	return rapid.MapOfN(rapid.SampledFrom([]string{"order", "dry", "orders", "ordér", ""}), values, 0, 4).Draw(t, "arguments")
}

// changed is the call with perhaps one thing changed that is no argument.
func changed(t *rapid.T, c policy.Call) policy.Call {
	switch rapid.IntRange(0, 20).Draw(t, "change") {
	case 1:
		c.Principal.Issuer = "https://elsewhere.example"
	case 2:
		c.Principal.Subject = "ada"
	case 3:
		c.Principal.Agent = "other-bot"
	case 4:
		c.Principal.Model = "m2"
	case 5:
		c.Gateway = another
	case 6:
		c.ServerID = "srv_other"
	case 7:
		c.EndpointDigest = canonical.Sum("test", []byte("other endpoint"))
	case 8:
		c.Tool = "delete_customers"
	case 9:
		c.Definition = canonical.Sum("test", []byte("other definition"))
	case 10:
		c.Epoch++
	case 11:
		c.Kind = policy.KindPrompt
	case 12:
		c.Issuer = "https://other.example"
	}
	return c
}

// TestAllowancePatternIsExact: two calls have one pattern exactly if they differ in nothing but what is free.
func TestAllowancePatternIsExact(t *testing.T) {
	t.Parallel()
	w := &world{t: t, caller: policy.Principal{Issuer: idp, Subject: "tomas", Agent: "release-bot", Model: "m1"}}
	rapid.Check(t, func(rt *rapid.T) {
		free := rapid.SliceOfDistinct(rapid.SampledFrom([]string{"order", "dry", "none"}), rapid.ID[string]).Draw(rt, "free")
		approved := w.callOf(anyArguments(rt))
		call := changed(rt, w.callOf(anyArguments(rt)))
		one, err := pattern(canonicalCall(rt, approved), free)
		two, err2 := pattern(canonicalCall(rt, call), free)
		if err != nil || err2 != nil {
			rt.Fatal(err, err2)
		}
		if want := !differs(rt, approved, call, free); (one == two) != want {
			rt.Fatalf("one pattern: %t, want %t:\n%+v %s\n%+v %s", one == two, want, approved, approved.Arguments, call, call.Arguments)
		}
	})
}

func canonicalCall(t *rapid.T, c policy.Call) policy.Call {
	_, arguments, err := c.Digest()
	if err != nil {
		t.Fatal(err)
	}
	c.Arguments = arguments
	return c
}

// TestAllowanceIsNeverWider: whatever is asked for while an allowance is open, what it lets through differs in nothing
// but what is free, and is never more than it has uses.
func TestAllowanceIsNeverWider(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.PendingCap, c.AskRate = 10_000, 10_000 })
	const uses = 12
	free := []string{"order"}
	w.generous(uses, free...)
	approved := w.callOf(map[string]any{"order": 1, "dry": nil})
	w.mustRedeem(w.claim(w.allow(w.ada, w.ask(approved), &Scope{Uses: uses, Within: time.Minute, Free: free})), approved, "red_0")
	let := map[string]bool{}
	rapid.Check(t, func(rt *rapid.T) {
		call := changed(rt, w.callOf(rapid.OneOf(rapid.Custom(anyArguments), rapid.Custom(func(rt *rapid.T) map[string]any {
			return map[string]any{"order": rapid.IntRange(1, 1000).Draw(rt, "order"), "dry": rapid.SampledFrom([]any{nil, nil, nil, false}).Draw(rt, "dry")}
		})).Draw(rt, "call")))
		caller, who := w.caller, w.gateway
		caller.Issuer, caller.Subject, caller.Agent, caller.Model = call.Principal.Issuer, call.Principal.Subject, call.Principal.Agent, call.Principal.Model
		if call.Gateway == another {
			who = w.other
		}
		r, _, err := w.queue.Ask(t.Context(), who, Ask{Call: call, CallDigest: digestOf(t, call), Principal: caller})
		if err != nil || r.State != Approved {
			return // denied by the policy, or people are asked
		}
		if let[r.ID] = true; differs(rt, approved, call, free) || len(let) > uses {
			rt.Fatalf("let through, as the %dth of %d: %+v %s", len(let), uses, call, call.Arguments)
		}
	})
	if len(let) == 0 {
		t.Error("nothing was let through at all")
	}
}
