package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"countersign/internal/browsertest"
)

// addSample registers the sample server with one click and pins what it offers.
func (d *desk) addSample(t *testing.T) {
	t.Helper()

	d.open("/servers/new")
	d.Press(`form[action="/servers/sample"] button`)
	d.pinAll(t)
}

// register registers a server by its address.
func (d *desk) register(t *testing.T, name, address string) {
	t.Helper()

	d.open("/servers/new")
	d.Fill("#name", name)
	d.Fill("#url", address)
	d.Press("#register")
}

// registerCommand registers a stdio server that a gateway says it can start, and pins what it offers.
func (d *desk) registerCommand(t *testing.T, name, command string) {
	t.Helper()

	d.open("/servers/new")
	d.Fill("#name", name)
	d.Click(`input[value="stdio"]`)
	d.Until(fmt.Sprintf(`(() => { const o = [...document.querySelectorAll("#command option")].find(o => o.value.startsWith(%q + " ")); if (o) o.selected = true; return !!o })()`, command))
	d.Press("#register")
	d.pinAll(t)
}

// pinAll waits for the discovery on the screen and pins all that is not blocked.
func (d *desk) pinAll(t *testing.T) {
	t.Helper()

	d.Until(`document.querySelector("#pin")`)
	d.Press("#pin")
	d.See("Pinned.")
}

// grant lets a person call tools of a server; names may be empty for every tool.
func (d *desk) grant(t *testing.T, name, person, server, names string) {
	t.Helper()

	d.open("/grants/new")
	d.Fill("#name", name)
	d.Fill("#users", person)
	d.Fill("#servers", server)
	d.Fill("#names", names)
	d.Press("#preview")
	d.Press("#create")
	d.See("is given")
}

// decide opens the first request that waits and decides it with a reason.
func (d *desk) decide(t *testing.T, decision, reason string) {
	t.Helper()

	d.open("/approvals")
	d.Press("#queue ol a")
	d.Fill("#reason", reason)
	d.Press(fmt.Sprintf(`button[name="decision"][value=%q]`, decision))
}

const sample = "com.example/orders"

// TestFirstGovernedCall is the product in one test: from countersign up to a call that a person approved, in a real
// browser, with a real MCP client, server and database.
func TestFirstGovernedCall(t *testing.T) {
	in := startUp(t)
	ada := signIn(t, in.console, "ada")
	complaints := ada.Complaints()
	ada.addSample(t)
	in.governed(t, ada)
	if got := complaints(); len(got) > 0 {
		t.Errorf("the browser objects: %q", got)
	}
	ada.walk(t)
	if code := in.end(t); code != exitDone {
		t.Errorf("an orderly stop: exit %d", code)
	}
	if !strings.Contains(in.out.String(), "Stopped.") {
		t.Error("it does not say that it stopped")
	}
}

// TestFirstGovernedCallOnTwoReplicas takes the same way on a production-like installation: every request goes to
// another replica than the one before.
func TestFirstGovernedCallOnTwoReplicas(t *testing.T) {
	f := startFleet(t)
	listener := freePort(t)
	ada := signIn(t, f.console, "ada")
	ada.open("/teams")
	ada.Fill("#name", "Commerce")
	ada.Fill("#groups", "commerce")
	ada.Press("#create-team")
	ada.See("can own servers now")
	ada.open("/gateways/new")
	ada.Fill("#name", "edge-1")
	ada.Fill("#resource", "http://"+listener.Addr().String())
	ada.Press("#enrol")
	ada.See("edge-1 is enrolled")
	clientID, secret := strings.TrimSpace(ada.text("#client-id")), strings.TrimSpace(ada.text("#client-secret"))
	f.startGateway(t, clientID, secret, listener)
	ada.open("/gateways")
	if strings.Contains(ada.Text(), secret) {
		t.Error("the secret is shown again")
	}
	ada.register(t, sample, f.sample)
	ada.pinAll(t)
	f.governed(t, ada)
	if got := f.orders.Executions("delete_orders"); got != 1 {
		t.Errorf("the approved call ran %d times, want once", got)
	}
}

// governed goes from a pinned sample server to the audit log: grant, call, held, approve, exactly once, deny.
func (in *installed) governed(t *testing.T, ada *desk) {
	t.Helper()

	eventually(t, "a call without a grant is denied by a gateway that knows the server", func() bool {
		code, _ := in.call(t, "tomas", sample, "list_orders", `{}`)
		return code == exitDenied
	})
	if names := in.toolNames(t, "tomas", sample); len(names) > 0 {
		t.Fatalf("without a grant these are listed: %v", names)
	}
	ada.grant(t, "Tomas works with orders", "tomas", sample, "")
	eventually(t, "the grant reaches the gateway", func() bool { return len(in.toolNames(t, "tomas", sample)) == 3 })
	if names := in.toolNames(t, "priya", sample); len(names) > 0 {
		t.Errorf("Priya has no grant and sees %v", names)
	}
	if code, out := in.call(t, "tomas", sample, "list_orders", `{}`); code != exitDone || !strings.Contains(out, "o-1001") {
		t.Fatalf("an allowed call: exit %d\n%s", code, out)
	}
	if code, out := in.call(t, "tomas", sample, "update_order", `{"id":"o-9999","status":"shipped"}`); code != exitError {
		t.Errorf("a tool that fails by itself: exit %d, want %d\n%s", code, exitError, out)
	}
	if code, out := in.call(t, "tomas", sample, "update_order", `{"id":7}`); code != exitDenied || strings.Contains(out, "o-1001") {
		t.Errorf("arguments that do not fit the schema: exit %d, want %d\n%s", code, exitDenied, out)
	}
	ada.open("/policy")
	ada.See("Tomas works with orders")

	priya := in.approveOnce(t, ada)
	in.denied(t)
	in.ownCall(t, ada, priya)

	ada.open("/audit")
	for _, kind := range []string{"confirmation.redeemed", "approval.approved", "approval.denied", "approval.requested"} {
		ada.See(kind)
	}
	ada.open("/audit?kind=grant.")
	ada.See("grant.created")
	ada.Screenshot("audit")
}

// walk looks at every page as it is after the flow, by turns light on a desk and dark on a phone: axe-core objects to
// nothing, and nothing is wider than a small phone.
func (d *desk) walk(t *testing.T) {
	t.Helper()
	addresses := []string{
		"/", "/approvals", "/approvals?state=decided", "/drift", "/servers", "/servers/new", "/servers/import", "/teams", "/sprawl",
		"/grants", "/grants/new", "/guardrails", "/guardrails/new", "/clients", "/gateways", "/gateways/new", "/policy", "/policy/revisions", "/policy/explain", "/policy/tests", "/policy/tests/new",
		"/policy/access", "/policy/suspensions", "/policy/keys", "/audit", "/me", "/nowhere",
	}
	d.open("/servers")
	server := browsertest.Eval[string](d.Browser, `document.querySelector('main a[href^="/servers/srv_"]').getAttribute('href')`)
	for _, tab := range []string{"", "/versions", "/access", "/traffic", "/settings"} {
		addresses = append(addresses, server+tab)
	}
	for _, list := range []struct{ page, link string }{
		{server, `main a[href*="/tools/tol_"]`},
		{"/gateways", `main a[href^="/gateways/gtw_"]`},
		{"/approvals?state=decided", "#queue ol a"},
		{"/audit", `main a[href^="/audit/"]`},
	} {
		d.open(list.page)
		addresses = append(addresses, browsertest.Eval[string](d.Browser, fmt.Sprintf("document.querySelector(%q).getAttribute('href')", list.link)))
	}
	for i, address := range addresses {
		width, scheme := 1280, "light"
		if i%2 == 1 {
			width, scheme = 390, "dark"
		}
		d.Screen(width, scheme)
		d.open(address)
		if got := d.Axe(); len(got) > 0 {
			t.Errorf("%s, %s at %d: axe-core objects: %q", address, scheme, width, got)
		}
		d.Screenshot(strings.NewReplacer("/", "-", "?", "-", "=", "-").Replace("page" + address))
		d.Screen(360, "light")
		if browsertest.Eval[bool](d.Browser, "document.documentElement.scrollWidth > innerWidth") {
			t.Errorf("%s is wider than a small phone", address)
		}
	}
}

const destroy = `{"ids":["o-1001"]}`

// approveOnce has Priya approve a call that is executed once, and gives her browser.
func (in *installed) approveOnce(t *testing.T, ada *desk) (priya *desk) {
	t.Helper()

	priya = signIn(t, in.console, "priya")
	priya.open("/approvals")
	priya.See("No one is waiting")
	code, out := in.call(t, "tomas", sample, "delete_orders", destroy)
	if code != exitHeld || !strings.Contains(out, in.console+"/approvals/apr_") {
		t.Fatalf("a destructive call: exit %d, want held\n%s", code, out)
	}
	priya.Until(`document.querySelector("#queue ol a")`) // live, without a reload
	priya.Press("#queue ol a")
	priya.See("o-1001")
	priya.Screenshot("approval")
	if code, _ := in.call(t, "tomas", sample, "delete_orders", destroy); code != exitHeld {
		t.Fatalf("asked again before a decision: exit %d, want held", code)
	}
	ada.open(strings.TrimPrefix(priya.Location(), in.console))
	ada.See("Only members of the teams that are asked may decide this call.")
	priya.Fill("#reason", "The customer asked for it")
	priya.Press(`button[value="approve"]`)
	priya.See("Approved.")
	if code, out := in.call(t, "tomas", sample, "delete_orders", destroy); code != exitDone {
		t.Fatalf("the approved call: exit %d\n%s", code, out)
	}
	if code, _ := in.call(t, "tomas", sample, "delete_orders", destroy); code != exitHeld {
		t.Fatalf("the same call again: exit %d, want held", code)
	}
	return priya
}

func (in *installed) denied(t *testing.T) {
	t.Helper()

	jonas := signIn(t, in.console, "jonas")
	jonas.decide(t, "deny", "")
	jonas.Until(`document.activeElement.id === "reason"`) // a denial needs a reason: explained, focused, nothing done
	jonas.Fill("#reason", "Once is enough")
	jonas.Press(`button[value="deny"]`)
	jonas.See("Denied.")
}

// ownCall lets a member of the owning team try to approve her own call.
func (in *installed) ownCall(t *testing.T, ada, priya *desk) {
	t.Helper()

	ada.grant(t, "Priya works with orders", "priya", sample, "delete_*")
	eventually(t, "the grant reaches the gateway", func() bool { return slices.Contains(in.toolNames(t, "priya", sample), "delete_orders") })
	if code, _ := in.call(t, "priya", sample, "delete_orders", `{"ids":["o-1002"]}`); code != exitHeld {
		t.Fatalf("Priya's destructive call: exit %d, want held", code)
	}
	priya.open("/approvals")
	priya.Press("#queue ol a")
	priya.See("This is your own call. Somebody else has to decide it.")
	priya.Until(`!document.querySelector('button[value="approve"]')`)
}
