package registry

import (
	"testing"
	"unicode"
)

func TestNamesThatLookAlike(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		what, a, b string
		want       bool
	}{
		{"the same", "list_orders", "list_orders", true},
		{"Cyrillic o", "list_orders", "list_\u043erders", true},
		{"Cyrillic throughout", "cope", "\u0441\u043e\u0440\u0435", true},
		{"Cyrillic capital", "Cancel", "\u0421ancel", true},
		{"Greek", "get_tax", "get_t\u03b1\u03c7", true},
		{"Armenian", "soon", "\u057dnot", false},
		{"Armenian o", "orders", "\u0585rders", true},
		{"Cherokee", "TIE", "\u13a2I\u13ac", true},
		{"small Cherokee", "TIE", "\uab72I\uab7c", true},
		{"full width", "orders", "\uff4f\uff52\uff44\uff45\uff52\uff53", true},
		{"mathematical", "orders", "\U0001d428rders", true},
		{"Latin in small capitals", "zoo", "\u1d22oo", true},
		{"a ligature", "file_find", "\ufb01le_\ufb01nd", true},
		{"hidden", "list_orders", "list\u200b_orders", true},
		{"capital I for l", "list_orders", "Iist_orders", true},
		{"one for l", "list_all", "list_a11", true},
		{"zero for O", "getOrder", "get0rder", true},
		{"upper and lower case", "List_Orders", "list_orders", true},
		{"upper and lower case with I and i", "getID", "getId", true},
		{"sharp s", "stra\u00dfe", "STRASSE", true},
		{"accents composed or not", "caf\u00e9", "cafe\u0301", true},
		{"Cyrillic with an accent", "caf\u00e9", "caf\u0435\u0301", true},

		{"i and l", "send_mail", "send_mall", false},
		{"an accent", "cafe", "caf\u00e9", false},
		{"separators", "list_orders", "list-orders", false},
		{"none", "list_orders", "listorders", false},
		{"rn and m", "turn", "tum", false},
		{"a plural", "list_order", "list_orders", false},
		{"a letter that no Latin one is like gives it away", "cop", "\u0441\u043e\u0440\u0436", false},
		{"two words of Cyrillic", "\u043f\u043e\u0438\u0441\u043a", "\u0441\u043f\u0438\u0441\u043e\u043a", false},
	} {
		if got := lookAlike(test.a, test.b); got != test.want {
			t.Errorf("%s: lookAlike(%q, %q) = %t", test.what, test.a, test.b, got)
		}
		if test.want && Skeleton(test.a) != Skeleton(test.b) {
			t.Errorf("%s: skeletons %q and %q", test.what, Skeleton(test.a), Skeleton(test.b))
		}
	}
}

// TestSkeletonOfEveryCharacter shows that the table has no holes: what folds to a letter of the table is in it.
func TestSkeletonOfEveryCharacter(t *testing.T) {
	t.Parallel()
	for r := rune(1); r <= unicode.MaxRune; r++ {
		s := string(r)
		if once := Skeleton(s); once == "" || Skeleton(once) != once {
			t.Errorf("%U: %q, then %q", r, once, Skeleton(once))
		}
	}
}

func FuzzSkeleton(f *testing.F) {
	for _, s := range []string{"", "list_orders", "Iist_\u043erders", "\u03a3\u0391", "1\u0323", "\u0130I\u0307", "\ufb01\u200b\x1b", "\xff\xfe", "\u0345\u03b1\u0345", "\u1e9e"} {
		f.Add(s, "list_orders")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		s := Skeleton(a)
		if Skeleton(s) != s {
			t.Errorf("Skeleton(%q) = %q, whose own is %q", a, s, Skeleton(s))
		}
		if (s == "") != (a == "") {
			t.Errorf("Skeleton(%q) = %q", a, s)
		}
		if lookAlike(a, b) && s != Skeleton(b) && a != "" && b != "" {
			t.Errorf("%q and %q look alike, with the skeletons %q and %q", a, b, s, Skeleton(b))
		}
		if !lookAlike(a, a) {
			t.Errorf("%q does not look like itself", a)
		}
	})
}
