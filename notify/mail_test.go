package notify

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"unicode"
)

// relay is an SMTP server that takes mail, and answers recipients with a code.
type relay struct {
	net.Listener

	mu    sync.Mutex
	mails []string // as sent, with the envelope before them
	code  int      // to RCPT
}

func newRelay(t *testing.T) *relay {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{Listener: l, code: 250}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { r.serve(conn) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); serving.Wait() })
	return r
}

func (r *relay) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	envelope := ""
	fmt.Fprint(conn, "220 relay\r\n")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		r.mu.Lock()
		code := r.code
		r.mu.Unlock()
		switch verb, _, _ := strings.Cut(strings.ToUpper(strings.TrimSpace(line)), " "); verb {
		case "EHLO":
			fmt.Fprint(conn, "250-relay\r\n250 8BITMIME\r\n")
		case "RCPT":
			envelope += strings.TrimSpace(line) + "\n"
			fmt.Fprintf(conn, "%d so\r\n", code)
		case "DATA":
			fmt.Fprint(conn, "354 go on\r\n")
			var text strings.Builder
			for line != ".\r\n" {
				if line, err = in.ReadString('\n'); err != nil {
					return
				}
				text.WriteString(line)
			}
			r.mu.Lock()
			r.mails = append(r.mails, envelope+"\n"+strings.TrimSuffix(text.String(), ".\r\n"))
			r.mu.Unlock()
			fmt.Fprint(conn, "250 taken\r\n")
		case "QUIT":
			fmt.Fprint(conn, "221 bye\r\n")
			return
		default:
			fmt.Fprint(conn, "250 ok\r\n")
		}
	}
}

func (r *relay) answerRecipients(code int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.code = code
}

// last is the newest mail: to whom it went, its headers and its text.
func (r *relay) last(t *testing.T) (envelope string, header mail.Header, text string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.mails) == 0 {
		t.Fatal("no mail arrived")
	}
	envelope, raw, _ := strings.Cut(r.mails[len(r.mails)-1], "\n\n")
	m, err := mail.ReadMessage(strings.NewReader(raw))
	if err != nil {
		t.Fatalf("%v in %q", err, raw)
	}
	body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	if err != nil {
		t.Fatal(err)
	}
	return envelope, m.Header, strings.ReplaceAll(string(body), "\r\n", "\n")
}

func mailWorld(t *testing.T) (*world, *relay) {
	t.Helper()
	r := newRelay(t)
	m, err := ReadMail("smtp://"+r.Addr().String(), "Countersign <countersign@example.com>")
	if err != nil {
		t.Fatal(err)
	}
	return newWorld(t, func(c *Config) { c.Mail = m }), r
}

func TestMail(t *testing.T) {
	t.Parallel()
	w, r := mailWorld(t)
	id, _ := w.channel(Setup{Kind: Email, Address: "ada@example.com\nops@example.com"})
	w.request("apr_1")
	w.tell(asked("apr_1"))
	w.look(w.notify)
	envelope, header, text := r.last(t)
	if !strings.Contains(envelope, "<ada@example.com>") || !strings.Contains(envelope, "<ops@example.com>") {
		t.Errorf("sent to %s", envelope)
	}
	for name, want := range map[string]string{
		"Subject": "[Countersign] Approval needed: delete_orders on com.example/orders", "Auto-Submitted": "auto-generated",
		"List-Id": "Countersign <" + id + ".countersign.example>", "References": "<apr_1@countersign.example>",
		"From": `"Countersign" <countersign@example.com>`,
	} {
		if got, err := new(mime.WordDecoder).DecodeHeader(header.Get(name)); err != nil || strings.ReplaceAll(got, "[.]", ".") != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if kind := header.Get("Content-Type"); !strings.HasPrefix(kind, "text/plain") {
		t.Errorf("it is %s", kind)
	}
	for _, want := range []string{"Tool: delete_orders\n", "Risk: destructive\n", "For: Tomas Lind\n", "Decide before: 2031-01-02 03:04 UTC\n", origin + "/approvals/apr_1\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	first := header.Get("Message-Id")
	if err := w.notify.Redeliver(t.Context(), ada, id, one[string](w, `select id from deliveries`)); err != nil {
		t.Fatal(err)
	}
	w.look(w.notify)
	if _, header, _ := r.last(t); header.Get("Message-Id") != first || first == "" {
		t.Errorf("message id %s became %s", first, header.Get("Message-Id"))
	}
	r.answerRecipients(550)
	w.tell(asked("apr_1"))
	w.look(w.notify)
	if got := w.states(id); got != "delivered 2, failed 1" {
		t.Errorf("after a refusal for good: %s", got)
	}
	r.answerRecipients(451)
	w.tell(asked("apr_1"))
	w.look(w.notify)
	if got := w.states(id); got != "delivered 2, failed 1, waiting 1" {
		t.Errorf("after a refusal for now: %s", got)
	}
	if c, err := w.notify.Channel(t.Context(), auditor, id); err != nil || !strings.HasPrefix(c.LastError, "The mail relay answered 451") {
		t.Errorf("channel: %+v, %v", c, err)
	}
}

// TestHostileNames sends names that would like to be headers, links, mentions and other text than they are.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	w, r := mailWorld(t)
	chatter := newReceiver(t)
	w.channel(Setup{Kind: Email, Address: "ada@example.com", Topics: []string{topicRequested}})
	w.channel(Setup{Kind: Slack, Address: chatter.URL, Topics: []string{topicRequested}})
	w.request("apr_1")
	for i, name := range []string{
		"x\r\nBcc: eve@evil.example\r\n\r\nbody", "<https://evil.example|click> <!channel> <@U1>", "[click](https://evil.com) @here ![x](https://evil.com/x.png)",
		"www.evil.com evil.com/path mailto:eve@evil.com", "pay\u202etxt.exe\u200b\u2066", strings.Repeat("long ", 5000), "\x1b[31mred\x00", "\xff\xfe",
	} {
		n := asked("apr_1")
		n.Data = map[string]any{"tool": name, "server": name, "agent": name, "caller_name": name, "risk": name, "state": name}
		w.tell(n)
		w.look(w.notify)
		envelope, header, text := r.last(t)
		subject, err := new(mime.WordDecoder).DecodeHeader(header.Get("Subject"))
		if err != nil || strings.Contains(envelope, "eve") || header.Get("Bcc") != "" || len(subject) > 700 || len(text) > 4000 {
			t.Errorf("%d: subject %q, envelope %q, %v", i, subject, envelope, err)
		}
		got := chatter.arrivals()
		if len(got) != i+1 {
			t.Fatalf("%d: %d messages arrived", i, len(got))
		}
		ours := strings.ReplaceAll(text, origin, "")
		var c chat
		if err := json.Unmarshal(got[i].body, &c); err != nil || len(c.Blocks) != 3 || c.Blocks[2].Text.Text != "<"+origin+"/approvals/apr_1|Open in Countersign>" {
			t.Errorf("%d: %s, %v", i, got[i].body, err)
		}
		said := strings.ReplaceAll(c.Text, origin, "")
		for _, bad := range []string{"[", "!", "<", "`", "*"} {
			if strings.Contains(said, bad) {
				t.Errorf("%d: %q is in %s", i, bad, said)
			}
		}
		for _, s := range []string{subject, ours, said, c.Blocks[0].Text.Text, c.Blocks[1].Text.Text} {
			for _, bad := range []string{"://", "@", "www.e", "evil.com", "\nBcc: eve"} {
				if strings.Contains(s, bad) {
					t.Errorf("%d: %q is in %s", i, bad, s)
				}
			}
			if at := strings.IndexFunc(s, func(r rune) bool { return r != '\n' && !unicode.IsGraphic(r) || r == unicode.ReplacementChar }); at >= 0 {
				t.Errorf("%d: a hidden character at %d of %q", i, at, s)
			}
		}
	}
}

func TestReadMail(t *testing.T) {
	t.Parallel()
	for _, bad := range [][2]string{
		{"smtp://relay", ""},
		{"", "a@example.com"},
		{"http://relay", "a@example.com"},
		{"smtp://relay:0", "a@example.com"},
		{"smtp://relay/x", "a@example.com"},
		{"smtp://relay", "nobody"},
		{"smtp://relay", "A\u202eb <a@example.com>"},
		{"smtp://", "a@example.com"},
		{"smtp://relay:99999", "a@example.com"},
	} {
		if m, err := ReadMail(bad[0], bad[1]); err == nil {
			t.Errorf("%q from %q: %v", bad[0], bad[1], m)
		}
	}
	m, err := ReadMail("smtps://user:p%40ss@relay.example", "a@example.com")
	if err != nil || m.port != 465 || !m.implicit || m.password != "p@ss" || strings.Contains(fmt.Sprintf("%v %+v", m, m), "p@ss") {
		t.Errorf("%v, %v", m, err)
	}
	if m, err := ReadMail("", ""); m != nil || err != nil {
		t.Errorf("no mail: %v, %v", m, err)
	}
}
