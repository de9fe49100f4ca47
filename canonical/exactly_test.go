package canonical_test

import (
	"strings"
	"testing"

	"countersign/canonical"
)

func TestInteger(t *testing.T) {
	t.Parallel()
	for number, want := range map[string]string{
		"0": "0", "-0": "0", "0.000": "0", "0e99999999999": "0", "7": "7", "-7": "-7", "100.0": "100", "1e2": "100", "1.5E+1": "15",
		"9007199254740993": "9007199254740993", "18446744073709551615": "18446744073709551615", "1e19": "10000000000000000000",
		"1.5": "", "1e-1": "", "1e20": "", "1e999999999999": "", "123456789012345678901": "",
		strings.Repeat("9", 5000): "", "1." + strings.Repeat("0", 5000): "1",
	} {
		if got, ok := canonical.Integer([]byte(number)); got != want || ok != (want != "") {
			t.Errorf("%.30s: %q %v, want %q", number, got, ok, want)
		}
	}
}

func TestFloat(t *testing.T) {
	t.Parallel()
	for number, want := range map[string]bool{
		"0.1": true, "-0.10": true, "1e-2": true, "3.141592653589793": true, "1e400": false, "-1e400": false, "1e-400": false,
		"0.10000000000000001": false, "3.14159265358979323846": false, "9007199254740993": false, "1e300": true, "5e-324": true,
	} {
		if f, ok := canonical.Float([]byte(number)); ok != want {
			t.Errorf("%s: %v %v, want %v", number, f, ok, want)
		}
	}
}
