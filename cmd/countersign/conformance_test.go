package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"log/slog"
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
	direct := everything{startEverything(t, program, false), startEverything(t, program, true)}
	governed := everything{startEverything(t, program, false), startEverything(t, program, true)}
	in := startUp(t)
	ada := newClerk(t, in.console, "ada")
	ada.endGuardrails(t)
	ada.registerEverything(t, conformanceServer+"-legacy", governed.legacy)
	ada.registerEverything(t, conformanceServer+"-modern", governed.modern)
	ada.grantEverything(t, conformanceAgent, conformanceServer+"-legacy\n"+conformanceServer+"-modern")
	eventually(t, "the grant reaches the gateway", func() bool {
		return len(in.toolNames(t, conformanceAgent, conformanceServer+"-legacy")) > 0 && len(in.toolNames(t, conformanceAgent, conformanceServer+"-modern")) > 0
	})
	text := "| suite | scenario | direct | through | same |\n|---|---|---|---|---|\n"
	for _, s := range suites {
		address, name := direct.legacy, conformanceServer+"-legacy"
		if s.stateless {
			address, name = direct.modern, conformanceServer+"-modern"
		}
		front := in.signedIn(t, conformanceAgent, name)
		var want, got findings
		var both sync.WaitGroup
		both.Go(func() { want = s.run(t.Context(), t, address) })
		both.Go(func() { got = s.run(t.Context(), t, front) })
		both.Wait()
		rows, differing := s.table(want, got)
		text += rows
		for _, scenario := range differing {
			t.Errorf("%s: %s differs (-direct +through):\n%s", s.name, scenario, cmp.Diff(want[scenario], got[scenario]))
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

// everything are the addresses of two servers that run only for one of the two sides: what one run has a server announce
// is announced to all who listen.
type everything struct{ legacy, modern string }

// startEverything runs that server and gives its address.
func startEverything(t *testing.T, path string, stateless bool) string {
	t.Helper()
	listener := freePort(t)
	address := listener.Addr().String()
	_ = listener.Close()
	command := exec.CommandContext(t.Context(), path, "-http="+address, fmt.Sprintf("-stateless=%t", stateless))
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

// registerAt registers a server by its address, pins all that it offers, and gives its page.
func (c *clerk) registerAt(t *testing.T, name, address string) (page string) {
	t.Helper()
	c.send(t, "/servers/new", "register", "name", name, "url", address)
	return c.pinAll(t, name)
}

// addSample registers the sample server and pins what it offers.
func (c *clerk) addSample(t *testing.T) {
	t.Helper()
	err := c.open(t.Context(), "/servers/new")
	if err == nil {
		err = c.press(t.Context(), func(n *html.Node) bool { return attribute(n.Parent, "action") == "/servers/sample" })
	}
	if err != nil {
		t.Fatal(err)
	}
	c.pinAll(t, "the sample server")
}

// pinAll waits for the discovery of the server that was registered just now and pins all that it found.
func (c *clerk) pinAll(t *testing.T, name string) (page string) {
	t.Helper()
	discovery := c.at.Path
	eventually(t, name+" is discovered", func() bool {
		return c.open(t.Context(), discovery) == nil && c.find(byID("pin")) != nil
	})
	c.send(t, discovery, "pin")
	return strings.Split(discovery, "/discovery/")[0]
}

// registerEverything registers a server, pins all that it offers, and lets it ask its clients for everything.
func (c *clerk) registerEverything(t *testing.T, name, address string) {
	t.Helper()
	if err := c.open(t.Context(), c.registerAt(t, name, address)+"/settings"); err != nil {
		t.Fatal(err)
	}
	for n := range c.page.Descendants() {
		if attribute(n, "name") == "requests" {
			n.Attr = append(n.Attr, html.Attribute{Key: "checked"})
		}
	}
	if err := c.press(t.Context(), byID("save")); err != nil {
		t.Fatal(err)
	}
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
	proxy := &httputil.ReverseProxy{
		FlushInterval: -1,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL, p.Out.Host = target, p.In.Host
			p.Out.Header.Set("Authorization", "Bearer "+token)
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
		ErrorLog:     slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // clients leave their streams when they please
	}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		whole, err := io.ReadAll(r.Body) // or an answer that comes before the end of the request may be lost
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(whole))
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		front.CloseClientConnections()
		front.Close()
	})
	return front.URL + "/mcp"
}
