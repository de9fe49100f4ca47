package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/net/html"

	"countersign/internal/devidp"
	"countersign/internal/devidp/devidptest"
	"countersign/internal/pgtest"
)

var quiet = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)

// process is the program in a process of its own, which a test may kill at any moment and start again.
type process struct {
	t    *testing.T
	args []string
	says *regexp.Regexp // when it is ready

	mu  sync.Mutex
	cmd *exec.Cmd
	err output // all it ever wrote about itself
}

// start runs it until it says that it is ready, and gives what the expression caught.
func (p *process) start() string {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	cmd := exec.CommandContext(context.WithoutCancel(p.t.Context()), os.Args[0], p.args...)
	cmd.Env = append(os.Environ(), runMain+"=1")
	cmd.Stderr = &p.err
	out, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.cmd = cmd
	ready := make(chan string, 1)
	go func() {
		defer close(ready)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if m := p.says.FindStringSubmatch(lines.Text()); m != nil {
				ready <- m[1]
			}
		}
	}()
	select {
	case said, ok := <-ready:
		if ok {
			return said
		}
	case <-time.After(time.Minute):
	}
	p.t.Fatalf("%s does not start:\n%s", p.args[0], p.err.String())
	return ""
}

// kill ends it as the kernel does when memory runs out.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill() // it may have ended by itself, which is no better
	_ = p.cmd.Wait()
	p.cmd = nil
}

// crashWorld is a whole installation of which every part but the tool can be killed.
type crashWorld struct {
	t        *testing.T
	database *pgtest.Server
	idp      *devidptest.Server
	wire     *wire
	till     *till
	plane    *process
	gateway  *process
	address  string   // of the gateway
	tokens   []string // of the agents of as many people: each may ask for so many approvals in a minute
	approver *clerk
}

const payers = 60

func newCrashWorld(t *testing.T) *crashWorld {
	t.Helper()
	c := &crashWorld{t: t, database: pgtest.NewServer(t, true), wire: layWire(t), till: openTill(t)}
	people := devidp.DemoPeople()
	for i := range payers {
		people = append(people, devidp.Person{Subject: fmt.Sprint("payer-", i), Name: "Payer", Groups: []string{"payers"}})
	}
	c.idp = devidptest.Start(t, devidp.Config{People: people, Clients: []devidp.Client{{
		ID: "console", Name: "Countersign", RedirectURIs: []string{c.wire.url + "/auth/callback"},
	}}})
	if code, out := run(t, "migrate", "--database-url", c.database.OwnerDSN); code != exitDone {
		t.Fatalf("migrate: exit %d\n%s", code, out)
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret)
	key := filepath.Join(t.TempDir(), "key")
	c.write(key, base64.StdEncoding.EncodeToString(secret))
	c.plane = &process{t: t, says: regexp.MustCompile(`on (127\.0\.0\.1:\d+)`), args: []string{
		"serve", "--database-url", c.database.RuntimeDSN, "--listen", "127.0.0.1:0", "--public-url", c.wire.url, "--key-file", key,
		"--oidc-issuer", c.idp.Issuer, "--oidc-client-id", "console",
		"--role", "admin=platform-admins;approver=approvers;auditor=auditors;viewer=developers,commerce",
	}}
	t.Cleanup(c.plane.kill)
	c.startPlane()
	c.setUp()
	return c
}

func (c *crashWorld) startPlane() { c.wire.leadTo(c.plane.start()) }

func (c *crashWorld) write(path, content string) {
	c.t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// setUp enrols the gateway, pins the till, lets the payers use it, and signs an approver in.
func (c *crashWorld) setUp() {
	c.t.Helper()
	ctx := c.t.Context()
	ada := newClerk(c.t, c.wire.url, "ada")
	fill := func(page, button string, fields ...string) {
		c.t.Helper()
		err := ada.open(ctx, page)
		for i := 0; i+1 < len(fields); i += 2 {
			ada.fill(fields[i], fields[i+1])
		}
		if err == nil {
			err = ada.press(ctx, byID(button))
		}
		if err != nil {
			c.t.Fatal(err)
		}
	}
	fill("/teams", "create-team", "name", "Commerce", "groups", "commerce")
	listener := freePort(c.t)
	c.address = listener.Addr().String()
	fill("/gateways/new", "enrol", "name", "edge-1", "resource", "http://"+c.address)
	clientID, secret := strings.TrimSpace(textOf(ada.find(byID("client-id")))), strings.TrimSpace(textOf(ada.find(byID("client-secret"))))
	_ = listener.Close() // its port is free for the gateway now
	c.configure(clientID, secret)
	fill("/servers/new", "register", "name", tillName, "url", c.till.url)
	discovery := ada.at.Path
	eventually(c.t, "the till is discovered", func() bool {
		return ada.open(ctx, discovery) == nil && ada.find(byID("pin")) != nil
	})
	fill(discovery, "pin")
	fill("/grants/new", "preview", "name", "They pay", "groups", "payers", "servers", tillName)
	if err := ada.press(ctx, byID("create")); err != nil {
		c.t.Fatal(err)
	}
	for i := range payers {
		c.tokens = append(c.tokens, c.idp.Token(c.t, fmt.Sprint("payer-", i), "http://"+c.address))
	}
	c.approver = newClerk(c.t, c.wire.url, "priya")
}

func (c *crashWorld) configure(clientID, secret string) {
	c.t.Helper()
	dir := c.t.TempDir()
	c.write(filepath.Join(dir, "secret"), secret)
	path := filepath.Join(dir, "gateway.yaml")
	c.write(path, fmt.Sprintf(`control_plane: %s
client_id: %s
client_secret_file: %s
listen: %s
resource: http://%s
state_dir: %s
allow_private_upstreams: true
issuers:
  - issuer: %s
    algorithms: [EdDSA]
`, c.wire.url, clientID, filepath.Join(dir, "secret"), c.address, c.address, filepath.Join(dir, "state"), c.idp.Issuer))
	c.gateway = &process{t: c.t, says: regexp.MustCompile(`Gateway (http://\S+)`), args: []string{"gateway", "--config", path}}
	c.t.Cleanup(c.gateway.kill)
	c.gateway.start()
}

// paid is what the agent was answered.
type paid struct {
	approval string // that it is held for
	done     bool
	text     string
}

// pay is one call of an agent, over the stateless protocol. An error says nothing of what happened.
func (c *crashWorld) pay(ctx context.Context, order string) (paid, error) {
	h := fnv.New32()
	_, _ = h.Write([]byte(order)) // never fails
	token := c.tokens[h.Sum32()%payers]
	arguments, err := json.Marshal(payment{order})
	if err != nil {
		return paid{}, err
	}
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + payTool + `","arguments":` + string(arguments) +
		`,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.address+"/mcp/"+tillName, strings.NewReader(body))
	if err != nil {
		return paid{}, err
	}
	for name, value := range map[string]string{
		"Authorization": "Bearer " + token, "Content-Type": "application/json", "Accept": "application/json, text/event-stream",
		"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": payTool,
	} {
		req.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return paid{}, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return paid{}, err
	}
	return readPaid(raw)
}

func readPaid(raw []byte) (paid, error) {
	if i := bytes.LastIndex(raw, []byte("data: {")); i >= 0 {
		raw = raw[i+len("data: "):]
	}
	var answer struct {
		Result struct {
			Content []struct {
				Text string `json:"text"`
			} `json:"content"`
			Meta struct {
				Approval struct {
					ID string `json:"id"`
				} `json:"countersign/approval"`
			} `json:"_meta"`
		} `json:"result"`
	}
	if err := json.Unmarshal(bytes.TrimSpace(raw), &answer); err != nil {
		return paid{}, fmt.Errorf("the gateway answered %.200q: %w", raw, err)
	}
	p := paid{approval: answer.Result.Meta.Approval.ID, text: string(raw)}
	for _, content := range answer.Result.Content {
		p.done = p.done || strings.HasPrefix(content.Text, "paid ")
	}
	return p, nil
}

// held makes a call until it is held: after a restart the gateway first has to look around.
func (c *crashWorld) held(order string) (approval string) {
	c.t.Helper()
	var last any
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		p, err := c.pay(c.t.Context(), order)
		switch {
		case err != nil:
			last = err
		case p.approval != "":
			return p.approval
		case p.done:
			c.t.Fatalf("%s was executed, and not held", order)
		default:
			last = p.text
		}
	}
	c.t.Fatalf("%s is never held: %v", order, last)
	return ""
}

// approve is a person at the page of the request. nil says that the vote was acknowledged.
func (c *crashWorld) approve(ctx context.Context, who *clerk, approval string) error {
	if err := who.open(ctx, "/approvals/"+approval); err != nil {
		return err
	}
	return who.press(ctx, func(n *html.Node) bool { return attribute(n, "value") == "approve" })
}

// states are those of all confirmations of an approval.
func (c *crashWorld) states(approval string) []string {
	c.t.Helper()
	return query(c, pgx.RowTo[string], `select state from confirmations where approval_id = $1 order by issued_at`, approval)
}

func (c *crashWorld) exec(sql string) {
	c.t.Helper()
	query(c, pgx.RowTo[string], sql)
}

// query asks the database over a connection of its own, as it may have died since the last time.
func query[T any](c *crashWorld, row pgx.RowToFunc[T], sql string, args ...any) []T {
	c.t.Helper()
	conn, err := pgx.Connect(c.t.Context(), c.database.OwnerDSN)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = conn.Close(c.t.Context()) }() // nothing is pending on it
	rows, _ := conn.Query(c.t.Context(), sql, args...)
	all, err := pgx.CollectRows(rows, row)
	if err != nil {
		c.t.Fatalf("%s: %v", sql, err)
	}
	return all
}
