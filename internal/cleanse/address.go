package cleanse

import (
	"html"
	"strings"
)

// spellings returns what readers may take an address for: entities and escapes undone, white space and control
// characters left out, in lower case. A backslash is a slash to a browser, and escapes the next character to Markdown
// and in JSON.
func spellings(raw string) [2]string {
	s := raw
	for range 2 {
		if !strings.Contains(s, "&") {
			break
		}
		s = html.UnescapeString(s)
	}
	s = strings.ToLower(strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f && r <= 0xa0 || hidden(r) {
			return -1
		}
		return r
	}, s))
	s = strings.TrimLeft(s, "<")
	return [2]string{
		strings.TrimLeft(strings.ReplaceAll(s, `\`, "/"), `"'`),
		strings.TrimLeft(strings.ReplaceAll(s, `\`, ""), `"'`),
	}
}

// runs reports whether an address makes a browser run something, or read a local file or another host's share.
func runs(raw string) bool {
	if !strings.ContainsAny(raw, ":&") {
		return false
	}
	for _, s := range spellings(raw) {
		scheme, rest, ok := strings.Cut(s, ":")
		if !ok {
			continue
		}
		switch scheme {
		case "javascript", "vbscript", "livescript", "file":
			return true
		case "data":
			return !picture(rest)
		}
	}
	return false
}

// picture reports whether the rest of a data address is of a kind of image that runs nothing.
func picture(rest string) bool {
	kind, ok := strings.CutPrefix(rest, "image/")
	if !ok {
		return rest == ","
	}
	for _, safe := range []string{"png", "jpeg", "jpg", "gif", "webp", "avif", "bmp"} {
		if after, ok := strings.CutPrefix(kind, safe); ok && after != "" && (after[0] == ';' || after[0] == ',') {
			return true
		}
	}
	return false
}

// loads reports whether fetching an address asks a host that is not allowed.
func (f *Filter) loads(raw string) bool {
	if !strings.ContainsAny(raw, `:/\&`) {
		return false
	}
	for _, s := range spellings(raw) {
		if host, remote := hostOf(s); remote && !f.allows(host) {
			return true
		}
	}
	return false
}

// hostOf returns the host of an address that has one, "" if it is written in a way that readers may differ on.
func hostOf(s string) (host string, remote bool) {
	for _, scheme := range []string{"https:", "http:", "ftp:", "ws:", "wss:"} {
		if rest, ok := strings.CutPrefix(s, scheme); ok {
			s, remote = "//"+strings.TrimLeft(rest, "/"), true
			break
		}
	}
	if !strings.HasPrefix(s, "//") {
		return "", remote
	}
	host = strings.TrimLeft(s, "/")
	if end := strings.IndexAny(host, `/?#"')>`); end >= 0 {
		host = host[:end]
	}
	if strings.ContainsAny(host, "@%[]") || strings.ContainsFunc(host, func(r rune) bool { return r >= 0x80 }) {
		return "", true
	}
	host, _, _ = strings.Cut(host, ":")
	return strings.TrimSuffix(host, "."), true
}
