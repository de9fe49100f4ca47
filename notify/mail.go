package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/url"
	"strconv"
	"strings"

	gomail "github.com/wneessen/go-mail"
)

// Mail is the relay that takes our mail.
type Mail struct {
	host     string
	port     int
	implicit bool // TLS from the first byte
	user     string
	password string
	from     mail.Address
}

// ReadMail reads how mail is sent: the relay as smtp://user:password@host:port, which begins TLS before anything else,
// or smtps://…, which begins with it, and who it is from. Without TLS mail is sent to this machine alone. Both empty:
// no mail is sent, and the result is nil.
func ReadMail(relay, from string) (*Mail, error) {
	if relay == "" && from == "" {
		return nil, nil //nolint:nilnil // no mail is a way to run
	}
	u, err := url.Parse(relay)
	if err != nil || u.Hostname() == "" || u.Scheme != "smtp" && u.Scheme != "smtps" || strings.Trim(u.Path, "/") != "" {
		return nil, errors.New("the mail relay has to be smtp://user:password@host:port or smtps://user:password@host:port")
	}
	sender, err := mail.ParseAddress(from)
	if err != nil || !printable(sender.Address) || Plain(sender.Name, 200) != sender.Name {
		return nil, fmt.Errorf("mail from %q: write an address as Countersign <countersign@example.com>", from)
	}
	m := &Mail{host: u.Hostname(), port: 587, implicit: u.Scheme == "smtps", user: u.User.Username(), from: *sender}
	m.password, _ = u.User.Password()
	if m.implicit {
		m.port = 465
	}
	if u.Port() != "" {
		if m.port, err = strconv.Atoi(u.Port()); err != nil || m.port < 1 || m.port > 65535 {
			return nil, errors.New("the port of the mail relay is no number from 1 to 65535")
		}
	}
	return m, nil
}

// String keeps the password out of logs.
func (m *Mail) String() string { return net.JoinHostPort(m.host, strconv.Itoa(m.port)) }

func (m *Mail) client() (*gomail.Client, error) {
	policy := gomail.TLSMandatory
	if ip := net.ParseIP(m.host); m.host == "localhost" || ip != nil && ip.IsLoopback() {
		policy = gomail.TLSOpportunistic
	}
	options := []gomail.Option{
		gomail.WithPort(m.port), gomail.WithTimeout(sendTimeout), gomail.WithTLSPolicy(policy),
		gomail.WithTLSConfig(&tls.Config{MinVersion: tls.VersionTLS12, ServerName: m.host}),
	}
	if m.implicit {
		options = append(options, gomail.WithSSL())
	}
	if m.user != "" {
		options = append(options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(m.user), gomail.WithPassword(m.password))
	}
	return gomail.NewClient(m.host, options...)
}

// mail puts a message in the form of a mail: plain text, marked as sent by a machine.
func (n *Notifier) mail(t target, d delivery, m message) (*gomail.Msg, error) {
	out := gomail.NewMsg(gomail.WithNoDefaultUserAgent(), gomail.WithEncoding(gomail.EncodingQP))
	out.FromMailAddress(&n.cfg.Mail.from)
	if err := out.To(t.To...); err != nil {
		return nil, err
	}
	host := "localhost"
	if u, err := url.Parse(n.cfg.PublicURL); err == nil && u.Hostname() != "" {
		host = strings.Trim(u.Hostname(), "[]")
	}
	out.Subject("[Countersign] " + m.title())
	out.SetDateWithValue(d.Now)
	out.SetMessageIDWithValue(m.id + "@" + host)
	if len(m.notices) == 1 && m.notices[0].ApprovalID != "" { // one thread for each request
		out.SetGenHeader(gomail.HeaderReferences, "<"+m.notices[0].ApprovalID+"@"+host+">")
	}
	out.SetGenHeader("Auto-Submitted", "auto-generated")
	out.SetGenHeader(gomail.HeaderXAutoResponseSuppress, "All")
	out.SetGenHeader("List-Id", "Countersign <"+d.ChannelID+"."+host+">")
	out.SetBodyString(gomail.TypeTextPlain, m.text())
	return out, nil
}

// text is the body of a mail.
func (m message) text() string {
	var b strings.Builder
	switch {
	case len(m.notices) == 0:
		fmt.Fprintln(&b, strings.Join(m.plainLines(), "\n"))
	case len(m.notices) == 1:
		fmt.Fprintln(&b, strings.Join(m.notices[0].lines(), "\n"))
	}
	if len(m.notices) > 1 {
		for _, t := range m.notices {
			fmt.Fprintf(&b, "%s\n  %s\n", t.brief(), m.link(t))
		}
		if more := m.total - len(m.notices); more > 0 {
			fmt.Fprintf(&b, "and %d more\n", more)
		}
	}
	fmt.Fprintf(&b, "\nOpen it in Countersign, where you sign in: %s\n", m.home())
	fmt.Fprintf(&b, "\n-- \nSent by Countersign to the channel %s. Nothing can be decided by answering.\n", inert(m.channel))
	return b.String()
}

func (n *Notifier) sendMail(ctx context.Context, t target, d delivery, m message) result {
	if n.cfg.Mail == nil {
		return result{err: errNoMail, never: true}
	}
	out, err := n.mail(t, d, m)
	if err != nil {
		return result{err: err, never: true}
	}
	client, err := n.cfg.Mail.client()
	if err != nil {
		return result{err: err}
	}
	if err := client.DialWithContext(ctx); err != nil {
		return result{err: err}
	}
	err = client.Send(out)
	_ = client.Close() // the relay has the mail, or said that it has not
	var refused *gomail.SendError
	return result{err: err, never: errors.As(err, &refused) && !refused.IsTemp() && refused.ErrorCode() >= 500}
}
