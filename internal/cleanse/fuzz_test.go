package cleanse_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"countersign/canonical"
	"countersign/internal/cleanse"
)

// seeds are texts in which things go wrong.
var seeds = []string{
	"\x1b[31mred\x1b]8;;x\x1b\\y\u009b2J\r\b", "a\u200b\u202e\ufeff\U000e0041 👨‍👩‍👧 می\u200cخ ✔️",
	"![a](http://e.example) ![b][r] <img src=//e>\n\n[r]: http://e", "`![`\n```\n<script>\n```\n<a href='java&#x73;cript:x'>",
	"ghp_0123456789abcdefghijABCDEFGHIJ456789 AKIAZ5GMXQZQ7NOPQRST postgres://a:hunter2x@b 4111 1111 1111 1111 DE89370400440532013000",
	"Z2hwXzAxMjM0NTY3ODlhYmNkZWZnaGlqQUJDREVGR0hJSjQ1Njc4OQ== %67%68%70%5f0123456789abcdefghijABCDEFGHIJ456789",
	"[secret removed: x] [secret removed: [secret removed: AKIAZ5GMXQZQ7NOPQRST", "<style>@import x</style> &lt;script> [x](javascript:y) [x]: data:z",
	"<a <b <c title=\"<img onerror=x>\" \\\" onclick=\\\"y", "![![![](http://a)](http://b)](http://c) [](<javascript:", "\xff\xc3(\xed\xa0\x80",
}

// safe says what is wrong with a text that came out of a filter.
func safe(t *testing.T, s string) {
	t.Helper()
	if !utf8.ValidString(s) {
		t.Errorf("%q is not UTF-8", s)
	}
	for i, r := range s {
		joins := r == 0x200c || r == 0x200d || r == 0x200e || r == 0x200f || r == 0x61c
		tagged := r >= 0xe0020 && r <= 0xe007f && strings.Contains(s[:i], "🏴")
		switch {
		case r == '\n' || r == '\t' || r == '\r' && strings.HasPrefix(s[i+1:], "\n"):
		case unicode.Is(unicode.Cc, r), r == 0x2028, r == 0x2029, r == 0xfeff,
			unicode.Is(unicode.Cf, r) && !joins && !tagged && !visible(r):
			t.Errorf("%q holds %U", s, r)
		}
	}
}

// visible are the format characters that are seen: signs of Arabic, Syriac and Kaithi numbers, and of hieroglyphs.
func visible(r rune) bool {
	return r >= 0x600 && r <= 0x605 || r == 0x6dd || r == 0x70f || r == 0x890 || r == 0x891 || r == 0x8e2 || r == 0x110bd || r == 0x110cd || r >= 0x13430 && r <= 0x1343f
}

func FuzzText(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	for _, s := range benign {
		f.Add(s)
	}
	strict := cleanse.New(cleanse.Options{})
	f.Fuzz(func(t *testing.T, s string) {
		out, found := strict.Text(s)
		safe(t, out)
		if again, more := strict.Text(out); again != out || more.Texts != 0 {
			t.Errorf("%q becomes %q, and then %q", s, out, again)
		}
		if (out == s) != (found.Texts == 0) {
			t.Errorf("%q becomes %q with findings %+v", s, out, found)
		}
	})
}

func FuzzMessage(f *testing.F) {
	for _, s := range seeds {
		quoted := string(canonical.AppendString(nil, s))
		f.Add([]byte(`{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":` + quoted + `}],"structuredContent":{"n":12345678901234567890,"f":1.0,"a":[` + quoted + `]}}}`))
		f.Add([]byte(`{"jsonrpc":"2.0","method":"x","params":{"message":` + quoted + `,"url":` + quoted + `,"icons":[{"src":` + quoted + `}]}}`))
		f.Add([]byte(`{"jsonrpc":"2.0","id":"x","error":{"code":-1,"message":` + quoted + `,"data":{"elicitations":[{"url":` + quoted + `}]}}}`))
	}
	f.Add([]byte(`{"result":{"tools":["\u001b"],"nextCursor":"a\ud83d","content":[{"blob":"=="}]}}`))
	strict := cleanse.New(cleanse.Options{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		in := cleanse.Surrogates(raw)
		if canonical.Check(in, canonical.Limits{}) != nil {
			return
		}
		out, found, err := strict.Message(in)
		if err != nil {
			return
		}
		if err := canonical.Check(out, canonical.Limits{}); err != nil {
			t.Fatalf("%s becomes %s: %v", raw, out, err)
		}
		if bytes.Equal(in, out) != (found.Texts == 0) {
			t.Errorf("%s becomes %s with findings %+v", in, out, found)
		}
		if was, is := shape(t, in), shape(t, out); was != is {
			t.Errorf("the shape %s becomes %s", was, is)
		}
		again, more, err := strict.Message(out)
		if err != nil || more.Texts != 0 || !bytes.Equal(again, out) {
			t.Errorf("%s becomes %s, and then %s: %v", raw, out, again, err)
		}
	})
}

// shape is a message with every string that is no key left empty.
func shape(t *testing.T, raw []byte) string {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var value any
	if err := dec.Decode(&value); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(emptied(value))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func emptied(value any) any {
	switch v := value.(type) {
	case string:
		return ""
	case []any:
		for i := range v {
			v[i] = emptied(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = emptied(v[k])
		}
	}
	return value
}
