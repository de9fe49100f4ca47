package desired

import (
	"testing"
	"time"
)

func TestRates(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Rate{
		"10/min": {10, 60}, "10/m": {10, 60}, "10/minute": {10, 60}, "10/60s": {10, 60}, "3/s": {3, 1}, "100/h": {100, 3600}, "5/day": {5, 86400}, "1/90s": {1, 90},
	} {
		got, err := ParseRate(text)
		again, errAgain := ParseRate(got.String())
		if err != nil || errAgain != nil || got != want || again != want {
			t.Errorf("%q is %v, %v; %q is %v, %v", text, got, err, got.String(), again, errAgain)
		}
	}
	for _, text := range []string{"", "10", "/min", "10/", "0/s", "-1/s", "+1/s", "01/s", "1/0s", "1/1", "1.5/s", "10 / min", "10/MIN", "9999999999/s", "1/s/s"} {
		if got, err := ParseRate(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}

func TestSpans(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Span{"90s": 90, "60s": 60, "15m": 900, "2h": 7200, "7d": 604800} {
		if got, err := ParseSpan(text); err != nil || got != want {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
	if got := Span(60).String(); got != "1m" {
		t.Errorf("a minute is %q", got)
	}
	for _, text := range []string{"", "15", "m", "0s", "-1m", "1.5h", "15 m", "99999999999s"} {
		if got, err := ParseSpan(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}

func TestTimes(t *testing.T) {
	t.Parallel()
	want := time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)
	for _, text := range []string{"2026-11-30", "2026-11-30T00:00:00Z", "2026-11-30T01:00:00+01:00", "2026-11-30T00:00:00.0000001Z"} {
		if got, err := parseTime(text); err != nil || !got.Equal(want) {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
}

func TestWhatIsShownIsVisible(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"plain, naïve 日本 🔥": "plain, naïve 日本 🔥", "a\x1b[2Jb": `a\u{1B}[2Jb`, "a\nb": `a\u{A}b`, "a\u202eb": `a\u{202E}b`, "a\u200bb": `a\u{200B}b`,
		`a\u{1B}b`: `a\u{5C}u{1B}b`, "\xff": `\x{FF}`, "a\u00a0b": `a\u{A0}b`, "\u3164": `\u{3164}`, "\u2800": `\u{2800}`,
	} {
		if got := Visible(text); got != want {
			t.Errorf("%q is shown as %s, want %s", text, got, want)
		}
	}
	a := Grant{Name: "a"}
	a.For.Users = []string{"a, b"}
	b := Grant{Name: "a"}
	b.For.Users = []string{"a", "b"}
	if len(Differences(a.Fields(), b.Fields())) != 1 {
		t.Error("one user with a comma looks like two")
	}
}
