package cleanse

import (
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strings"
)

// maxDecoded bounds what of one text is decoded to look for secrets in it.
const maxDecoded = 256 << 10

// encoded appends what is a secret when it is decoded, once: runs in base64 or hexadecimal, or with percent signs.
func encoded(found []secret, s string, keys []span) []secret {
	room := maxDecoded
	for _, k := range keys {
		for k.end < len(s) && s[k.end] == '=' {
			k.end++
		}
		if k.end-k.start < 24 {
			continue
		}
		if room -= k.end - k.start; room < 0 {
			break
		}
		if rule := ruleOf(decoded(s[k.start:k.end])); rule != "" {
			found = append(found, secret{k, rule + " (encoded)"})
		}
	}
	return found
}

// decoded is the text that a run stands for, "" if it stands for none.
func decoded(run string) string {
	if len(run)%2 == 0 {
		if b, err := hex.DecodeString(run); err == nil {
			return printable(b)
		}
	}
	raw := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(run, "="))
	b, err := base64.RawStdEncoding.DecodeString(raw)
	if err != nil {
		return ""
	}
	return printable(b)
}

// printable is b if it is text of ASCII.
func printable(b []byte) string {
	for _, c := range b {
		if c >= 0x7f || c < ' ' && c != '\n' && c != '\r' && c != '\t' {
			return ""
		}
	}
	return string(b)
}

// ruleOf names the rule that finds a secret in a decoded text.
func ruleOf(text string) string {
	if text == "" {
		return ""
	}
	var found []secret
	if runs := dense(text); len(runs) > 0 {
		q := newSearch(text, len(text))
		for _, at := range runs {
			q.run(at)
		}
		found = q.found
	}
	found = passwords(found, text)
	found = accounts(found, text)
	if len(found) == 0 {
		return ""
	}
	return found[0].rule
}

// percents is for runs with percent signs.
func percents(found []secret, s string) []secret {
	room := maxDecoded
	for i := 0; room > 0; {
		n := strings.IndexByte(s[i:], '%')
		if n < 0 {
			break
		}
		start, end := i+n, i+n
		for start > i && s[start-1] > ' ' && !strings.ContainsRune(`"'<>&?=`, rune(s[start-1])) {
			start--
		}
		signs := 0
		for end < len(s) && s[end] > ' ' && !strings.ContainsRune(`"'<>&`, rune(s[end])) {
			if s[end] == '%' {
				signs++
			}
			end++
		}
		i = end
		if end-start < 24 || signs < 3 {
			continue
		}
		room -= end - start
		text, err := url.PathUnescape(s[start:end])
		if err != nil {
			continue
		}
		if rule := ruleOf(printable([]byte(text))); rule != "" && rule != ruleOf(s[start:end]) {
			found = append(found, secret{span{start, end}, rule + " (encoded)"})
		}
	}
	return found
}
