package approvals

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"countersign/internal/problem"
)

func TestTokenForm(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^cst_[0-9A-Za-z]{49}$`)
	seen := map[Token]bool{}
	for range 1000 {
		token, hash, err := mintToken()
		if err != nil {
			t.Fatal(err)
		}
		if !form.MatchString(string(token)) {
			t.Fatalf("minted %q", string(token))
		}
		if seen[token] {
			t.Fatal("minted the same token twice")
		}
		seen[token] = true
		if parsed, err := parseToken(token); err != nil || parsed != hash {
			t.Fatalf("a minted token does not parse to its hash: %v", err)
		}
	}
}

func TestTokenHidesItself(t *testing.T) {
	t.Parallel()
	token, _, err := mintToken()
	if err != nil {
		t.Fatal(err)
	}
	claimed := Claimed{Token: token}
	for _, shown := range []string{
		fmt.Sprint(token), fmt.Sprintf("%s %v %+v %#v %q", token, token, token, token, token), token.LogValue().String(), fmt.Sprintf("%+v", claimed),
	} {
		if strings.Contains(shown, string(token)[8:]) {
			t.Errorf("the secret shows in %q", shown)
		}
	}
}

func TestTokenMalformed(t *testing.T) {
	t.Parallel()
	token, _, err := mintToken()
	if err != nil {
		t.Fatal(err)
	}
	good := string(token)
	for name, bad := range map[string]string{
		"empty": "", "cut": good[:52], "longer": good + "0", "another prefix": "cxt_" + good[4:],
		"upper-case prefix": "CST_" + good[4:], "white space": " " + good[1:], "symbol": good[:20] + "-" + good[21:],
		"two bytes for one letter": good[:20] + "é" + good[22:], "NUL": good[:20] + "\x00" + good[21:],
	} {
		if _, err := parseToken(Token(bad)); !problem.Is(err, problem.Invalid) {
			t.Errorf("%s: %v, want Invalid", name, err)
		}
	}
}

// TestTokenTypingErrors changes one character, or swaps two: the checksum finds each.
func TestTokenTypingErrors(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		token, _, err := mintToken()
		if err != nil {
			rt.Fatal(err)
		}
		typed := []byte(token)
		i := rapid.IntRange(len(tokenPrefix), tokenLength-1).Draw(rt, "at")
		if rapid.Bool().Draw(rt, "swap") && i+1 < tokenLength {
			typed[i], typed[i+1] = typed[i+1], typed[i]
		} else {
			typed[i] = base62[rapid.IntRange(0, 61).Draw(rt, "digit")]
		}
		if string(typed) == string(token) {
			return
		}
		if _, err := parseToken(Token(typed)); err == nil {
			rt.Fatalf("%s typed as %s is taken", string(token), typed)
		}
	})
}
