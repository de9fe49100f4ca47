package main

import (
	"flag"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"
)

var conformanceTable = flag.String("conformance.table", "", "write the Markdown table of TestConformance into this file")

const (
	conformanceAgent  = "tomas"
	conformanceServer = "org.example/everything"
)

// TestConformance runs the conformance suite of the protocol against the server that the Go SDK has for it, once directly
// and once through a gateway with everything pinned and granted. Nothing that the suite looks at may tell the two apart.
func TestConformance(t *testing.T) {
	t.Parallel()
	program := buildEverything(t)
	legacy, modern := startEverything(t, program, "-stateless=false"), startEverything(t, program, "-stateless=true")
	in := startUp(t)
	ada := newClerk(t, in.console, "ada")
	ada.endGuardrails(t)
	ada.registerEverything(t, conformanceServer+"-legacy", legacy)
	ada.registerEverything(t, conformanceServer+"-modern", modern)
	ada.grantEverything(t, conformanceAgent, conformanceServer+"-legacy\n"+conformanceServer+"-modern")
	eventually(t, "the grant reaches the gateway", func() bool {
		return len(in.toolNames(t, conformanceAgent, conformanceServer+"-legacy")) > 0 && len(in.toolNames(t, conformanceAgent, conformanceServer+"-modern")) > 0
	})
	text := "| suite | scenario | direct | through | same |\n|---|---|---|---|---|\n"
	for _, s := range suites {
		server, name := legacy, conformanceServer+"-legacy"
		if s.stateless {
			server, name = modern, conformanceServer+"-modern"
		}
		front := in.signedIn(t, conformanceAgent, name)
		var direct, through findings
		var both sync.WaitGroup
		both.Go(func() { direct = s.run(t.Context(), t, server) })
		both.Go(func() { through = s.run(t.Context(), t, front) })
		both.Wait()
		rows, differing := s.table(direct, through)
		text += rows
		for _, scenario := range differing {
			t.Errorf("%s: %s differs (-direct +through):\n%s", s.name, scenario, cmp.Diff(direct[scenario], through[scenario]))
		}
	}
	if *conformanceTable != "" {
		if err := os.WriteFile(*conformanceTable, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// buildEverything builds the conformance server of the Go SDK, in the version of go.mod.
func buildEverything(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "everything-server")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", path, "github.com/modelcontextprotocol/go-sdk/conformance/everything-server")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the conformance server: %v\n%s", err, out)
	}
	return path
}

// startEverything runs that server and gives its address.
func startEverything(t *testing.T, path, mode string) string {
	t.Helper()
	listener := freePort(t)
	address := listener.Addr().String()
	_ = listener.Close()
	command := exec.CommandContext(t.Context(), path, "-http="+address, mode) //nolint:gosec // built above
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	eventually(t, "the conformance server listens", func() bool {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return "http://" + address + "/mcp"
}

// endGuardrails ends the guardrail that a new installation has, which holds what is destructive.
func (c *clerk) endGuardrails(t *testing.T) {
	t.Helper()
	err := c.open(t.Context(), "/guardrails")
	if err == nil {
		for n := range c.page.Descendants() {
			if attribute(n, "name") == "reason" {
				c.filled[n] = "Servers for tests"
			}
		}
		err = c.press(t.Context(), func(n *html.Node) bool { return strings.HasSuffix(attribute(n.Parent, "action"), "/end") })
	}
	if err != nil {
		t.Fatal(err)
	}
}

// registerEverything registers a server and pins all that it offers.
func (c *clerk) registerEverything(t *testing.T, name, address string) {
	t.Helper()
	c.send(t, "/servers/new", "register", "name", name, "url", address)
	discovery := c.at.Path
	eventually(t, name+" is discovered", func() bool {
		return c.open(t.Context(), discovery) == nil && c.find(byID("pin")) != nil
	})
	c.send(t, discovery, "pin")
}

// grantEverything lets a person use all that the servers offer.
func (c *clerk) grantEverything(t *testing.T, person, servers string) {
	t.Helper()
	if err := c.open(t.Context(), "/grants/new"); err != nil {
		t.Fatal(err)
	}
	for n := range c.page.Descendants() {
		if attribute(n, "name") == "kinds" {
			n.Attr = append(n.Attr, html.Attribute{Key: "checked"})
		}
	}
	c.fill("name", "Everything")
	c.fill("users", person)
	c.fill("servers", servers)
	for _, button := range []string{"preview", "create"} {
		if err := c.press(t.Context(), byID(button)); err != nil {
			t.Fatal(err)
		}
	}
}

// send fills in a form and sends it. fields are ids, each with what to write there.
func (c *clerk) send(t *testing.T, page, button string, fields ...string) {
	t.Helper()
	err := c.open(t.Context(), page)
	for i := 0; i+1 < len(fields); i += 2 {
		c.fill(fields[i], fields[i+1])
	}
	if err == nil {
		err = c.press(t.Context(), byID(button))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// signedIn is an address of a server behind the gateway, for clients that know of no tokens: it adds one of the person's
// and changes nothing else.
func (in *installed) signedIn(t *testing.T, person, server string) string {
	t.Helper()
	connection, err := readConnection(in.data)
	if err != nil {
		t.Fatal(err)
	}
	token, err := connection.token(t.Context(), person)
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(in.gateway + "/mcp/" + server)
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(&httputil.ReverseProxy{
		FlushInterval: -1,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL, p.Out.Host = target, p.In.Host
			p.Out.Header.Set("Authorization", "Bearer "+token)
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	})
	t.Cleanup(func() {
		front.CloseClientConnections()
		front.Close()
	})
	return front.URL + "/mcp"
}
