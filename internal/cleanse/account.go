package cleanse

import (
	"slices"
	"strings"
)

// passwords appends the passwords in addresses: scheme://user:password@host.
func passwords(found []secret, s string) []secret {
	for i := 0; ; {
		n := strings.Index(s[i:], "://")
		if n < 0 {
			return found
		}
		i += n + 3
		rest := s[i:min(len(s), i+512)]
		if end := strings.IndexAny(rest, "/?#\"'<> \t\r\n`,;"); end >= 0 && !strings.HasPrefix(rest[end:], " removed") {
			rest = rest[:end]
		}
		at := strings.LastIndexByte(rest, '@')
		colon := strings.IndexByte(rest, ':')
		if n == 0 || at < 0 || colon < 0 || colon+1 >= at || classes[s[i-4]]&(letter|digit) == 0 {
			continue
		}
		if password := rest[colon+1 : at]; !placeholder(password) {
			found = append(found, secret{span{i + colon + 1, i + at}, "url-password"})
		}
	}
}

// placeholder reports whether what stands for a password is an example of one.
func placeholder(p string) bool {
	if strings.ContainsAny(p[:1], "<{[$%*") || strings.Trim(p, "x.*") == "" {
		return true
	}
	l := strings.ToLower(p)
	return slices.Contains([]string{"password", "passwd", "pass", "pwd", "secret", "pw", "changeme", "example", "token", "postgres", "mypassword"}, l) ||
		strings.HasPrefix(l, "your")
}

// accounts appends the numbers of cards and bank accounts.
func accounts(found []secret, s string) []secret {
	for i := 0; i < len(s); i++ {
		if i = nextDigit(s, i); i == len(s) {
			break
		}
		if at, ok := iban(s, i); ok {
			found = append(found, secret{at, "iban"})
			i = at.end
			continue
		}
		end := i
		for end < len(s) && (classes[s[end]]&digit != 0 || (s[end] == ' ' || s[end] == '-') && end+1 < len(s) && classes[s[end+1]]&digit != 0) {
			end++
		}
		if n := cardAt(s, i, end); n > 0 {
			found = append(found, secret{span{i, n}, "card-number"})
		}
		i = end
	}
	return found
}

// nextDigit returns where the next digit is from i on, the length of s if there is none.
func nextDigit(s string, i int) int {
	for ; i+8 <= len(s); i += 8 {
		p := s[i : i+8]
		if (classes[p[0]]|classes[p[1]]|classes[p[2]]|classes[p[3]]|classes[p[4]]|classes[p[5]]|classes[p[6]]|classes[p[7]])&digit != 0 {
			break
		}
	}
	for i < len(s) && classes[s[i]]&digit == 0 {
		i++
	}
	return i
}

// cardAt returns where the number of a card ends that begins a run of groups of digits, 0 if none does.
func cardAt(s string, start, end int) int {
	digits := 0
	for i := start; i < end && digits <= 16; i++ {
		if classes[s[i]]&digit == 0 {
			continue
		}
		digits++
		last := i+1 == end || classes[s[i+1]]&digit == 0
		if (digits == 15 || digits == 16) && last && alone(s, start, i+1) && card(s[start:i+1]) {
			return i + 1
		}
	}
	return 0
}

// alone reports whether a number is not part of something longer, such as a fraction, a path or a name.
func alone(s string, start, end int) bool {
	if start > 0 && (classes[s[start-1]]&(token|high) != 0 && s[start-1] != '=') {
		return false
	}
	if end < len(s) && (classes[s[end]]&(letter|high) != 0 || s[end] == '_') {
		return false
	}
	return end+1 >= len(s) || s[end] != '.' && s[end] != '-' || classes[s[end+1]]&digit == 0
}

// card reports whether digits, in groups or not, are the number of a card: the beginning and the length of one of the
// large schemes, one kind of separator, and the check digit.
func card(s string) bool {
	if strings.Contains(s, " ") && strings.Contains(s, "-") || strings.Contains(s, "  ") {
		return false
	}
	digits := strings.NewReplacer(" ", "", "-", "").Replace(s)
	if groups := len(s) - len(digits); groups > 4 {
		return false
	}
	switch {
	case len(digits) == 15 && (strings.HasPrefix(digits, "34") || strings.HasPrefix(digits, "37")):
	case len(digits) == 16 && (digits[0] == '4' || between(digits, "51", "55") || between(digits, "2221", "2720") ||
		strings.HasPrefix(digits, "6011") || strings.HasPrefix(digits, "65") || between(digits, "3528", "3589") || strings.HasPrefix(digits, "62")):
	default:
		return false
	}
	sum := 0
	for i := range len(digits) {
		d := int(digits[len(digits)-1-i] - '0')
		if i%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}

func between(digits, low, high string) bool {
	prefix := digits[:len(low)]
	return prefix >= low && prefix <= high
}

// ibanLengths are how long the account numbers of a country are.
var ibanLengths = map[string]int{
	"AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28, "CH": 21,
	"CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FO": 18, "FR": 27,
	"GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26,
	"IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "MC": 27, "MD": 24,
	"ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29,
	"RO": 24, "RS": 22, "SA": 24, "SC": 31, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "ST": 25, "SV": 28, "TL": 23, "TN": 24,
	"TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}

// iban finds the account number whose check digits begin at i.
func iban(s string, i int) (at span, ok bool) {
	if i < 2 || i+2 > len(s) || i > 2 && classes[s[i-3]]&(letter|digit|high) != 0 {
		return span{}, false
	}
	length := ibanLengths[s[i-2:i]]
	if length == 0 {
		return span{}, false
	}
	number := make([]byte, 0, length)
	end := i - 2
	for ; end < len(s) && len(number) < length; end++ {
		c := s[end]
		if c == ' ' && len(number)%4 == 0 && len(number) > 0 {
			continue
		}
		if classes[c]&(digit|upper) == 0 {
			return span{}, false
		}
		number = append(number, c)
	}
	if len(number) < length || end < len(s) && classes[s[end]]&(letter|digit) != 0 {
		return span{}, false
	}
	rest := 0
	for _, c := range append(number[4:], number[:4]...) {
		if classes[c]&digit != 0 {
			rest = (rest*10 + int(c-'0')) % 97
		} else {
			rest = (rest*100 + int(c-'A') + 10) % 97
		}
	}
	return span{i - 2, end}, rest == 1
}
