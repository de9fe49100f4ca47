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
		for _, at := range pieces(s, k) {
			if room -= at.end - at.start; room < 0 {
				return found
			}
			if rule := ruleOf(decoded(s[at.start:at.end])); rule != "" {
				found = append(found, secret{at, rule + " (encoded)"})
			}
		}
	}
	return percents(found, s, room)
}

// pieces are a run itself and, if it has an equals sign before its end, what stands after it: name=value.
func pieces(s string, k span) []span {
	run := strings.TrimRight(s[k.start:k.end], "=")
	if n := strings.LastIndexByte(run, '='); n >= 0 {
		k.start += n + 1
	}
	if k.end-k.start < 24 {
		return nil
	}
	return []span{k}
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
	found := loadRules().find(nil, text, 0, len(text))
	found = passwords(found, text)
	found = accounts(found, text)
	if len(found) == 0 {
		return ""
	}
	return found[0].rule
}

// percents is for runs with percent signs.
func percents(found []secret, s string, room int) []secret {
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
