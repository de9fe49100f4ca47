package notify

import (
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"countersign/internal/egress"
)

const (
	maxAddress    = 2000
	maxRecipients = 10
)

// target is where a channel delivers: an address of the web, or of mail.
type target struct {
	URL string   `json:"url,omitempty"`
	To  []string `json:"to,omitempty"`
}

// readTarget reads what a person typed. The complaint is for them; what they typed may be secret and is not in it.
func readTarget(kind Kind, typed string, guard egress.Guard) (t target, complaint string) {
	typed = strings.TrimSpace(typed)
	if typed == "" || len(typed) > maxAddress {
		return target{}, fmt.Sprintf("It takes an address of at most %d characters.", maxAddress)
	}
	if kind == Email {
		t.To, complaint = readRecipients(typed)
		return t, complaint
	}
	t.URL, complaint = readURL(typed, guard)
	return t, complaint
}

func readURL(typed string, guard egress.Guard) (address, complaint string) {
	u, err := url.Parse(typed)
	if err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http" || Plain(typed, maxAddress) != typed {
		return "", "Write an address as https://example.com/hooks."
	}
	ip, numeric := netip.ParseAddr(u.Hostname())
	local := u.Hostname() == "localhost" || numeric == nil && ip.IsLoopback()
	switch {
	case u.User != nil || u.Fragment != "":
		return "", "Leave out the name, the password and what follows #."
	case u.Scheme == "http" && !local:
		return "", "It has to be https: on the way everybody could read and change what is told."
	case numeric == nil && guard.Permit(ip) != nil, local && guard.Permit(netip.IPv6Loopback()) != nil && guard.Permit(netip.MustParseAddr("127.0.0.1")) != nil:
		return "", "This address is private, loopback or link-local. An operator may allow its network (COUNTERSIGN_ALLOW_PRIVATE)."
	}
	return u.String(), ""
}

func readRecipients(typed string) (to []string, complaint string) {
	split := func(r rune) bool { return strings.ContainsRune(",; \t\r\n", r) }
	for address := range strings.FieldsFuncSeq(typed, split) {
		parsed, err := mail.ParseAddress(address)
		if err != nil || parsed.Address != address || len(address) > 254 || !printable(address) {
			return nil, "Write plain addresses as ops@example.com, one on each line."
		}
		if !slices.Contains(to, address) {
			to = append(to, address)
		}
	}
	if len(to) > maxRecipients {
		return nil, fmt.Sprintf("At most %d addresses: use a mailing list for more.", maxRecipients)
	}
	return to, ""
}

// printable says whether s is of visible ASCII alone, without what a mail command or a header could take for its own.
func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`<>()[]\,;:"`, r) })
}

// shown is what may be shown of t: the paths of many incoming webhooks are their only secret.
func (t target) shown() string {
	if t.URL == "" {
		return strings.Join(t.To, ", ")
	}
	u, err := url.Parse(t.URL)
	if err != nil {
		return ""
	}
	host := u.Hostname()
	if u.Port() != "" {
		host = net.JoinHostPort(host, u.Port())
	}
	rest := ""
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		rest = "/…"
	}
	return u.Scheme + "://" + Plain(host, 200) + rest
}
