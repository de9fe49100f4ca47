package notify

import (
	"net/netip"
	"regexp"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/publicsuffix"

	"countersign/desired"
)

// Plain is a text of an agent or a server, fit for a message: what is not drawn, reorders the text around it or breaks
// the line is written as \u{…}, and what is longer than most characters is cut.
func Plain(s string, most int) string {
	if len(s) <= 4*most { // no more characters than that can be in it
		return cut(desired.Visible(s), most)
	}
	return cut(desired.Visible(strings.ToValidUTF8(s[:4*most], ""))+"…", most)
}

func cut(s string, most int) string {
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most-1]) + "…"
}

// inert is a plain text that no mail program and no chat makes a link or a mention of: [.] stands for the dots of what
// reads as a name of the Internet, and what begins a link or a mention is taken apart likewise.
func inert(s string) string {
	s = domain.ReplaceAllStringFunc(s, func(name string) string {
		if !resolvable(name) {
			return name
		}
		return strings.ReplaceAll(name, ".", "[.]")
	})
	return taken.Replace(s)
}

var (
	domain = regexp.MustCompile(`[\p{L}\p{N}_-]+(?:\.[\p{L}\p{N}_-]+)+`)
	taken  = strings.NewReplacer("://", "[:]//", "@", "[at]", "mailto:", "mailto[:]", "tel:", "tel[:]")
)

// resolvable says whether programs take name for one of the Internet: its end is a public suffix, or not of ASCII.
func resolvable(name string) bool {
	name = strings.ToLower(name)
	if strings.HasPrefix(name, "www.") || strings.ContainsFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return true
	}
	if ip, err := netip.ParseAddr(name); err == nil {
		return ip.IsValid()
	}
	_, managed := publicsuffix.PublicSuffix(name)
	return managed
}
