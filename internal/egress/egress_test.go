package egress

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestPermit(t *testing.T) {
	t.Parallel()
	tests := []struct {
		address       string
		public, inner bool // allowed by default; with everything allowed that may be
	}{
		{"93.184.216.34", true, true},
		{"2606:2800:220:1::1", true, true},
		{"127.0.0.1", false, true},
		{"127.8.8.8", false, true},
		{"::1", false, true},
		{"::ffff:127.0.0.1", false, true},
		{"10.1.2.3", false, true},
		{"172.16.0.1", false, true},
		{"192.168.1.1", false, true},
		{"100.64.0.1", false, true},
		{"192.0.0.1", false, true},
		{"192.0.2.1", false, true},
		{"198.18.0.1", false, true},
		{"240.0.0.1", false, true},
		{"fd00::1", false, true},
		{"fec0::1", false, true},
		{"2001:db8::1", false, true},
		{"2001::1", false, true},
		{"64:ff9b::7f00:1", false, true},
		{"64:ff9b:1::a00:1", false, true},
		{"2002:7f00:1::", false, true},
		{"::127.0.0.1", false, true},
		{"::ffff:0:127.0.0.1", false, true},
		{"64:ff9b::5db8:d822", true, true},
		{"169.254.169.254", false, false},
		{"::ffff:169.254.169.254", false, false},
		{"64:ff9b::a9fe:a9fe", false, false},
		{"2002:a9fe:a9fe::1", false, false},
		{"::169.254.169.254", false, false},
		{"100.100.100.200", false, false},
		{"168.63.129.16", false, false},
		{"192.0.0.192", false, false},
		{"fd00:ec2::254", false, false},
		{"fd20:ce::254", false, false},
		{"fe80::1", false, false},
		{"fe80::1%eth0", false, false},
		{"0.0.0.0", false, false},
		{"0.1.2.3", false, false},
		{"::", false, false},
		{"224.0.0.1", false, false},
		{"ff02::1", false, false},
		{"255.255.255.255", false, false},
	}
	for _, tt := range tests {
		ip := netip.MustParseAddr(tt.address)
		if got := (Guard{}).Permit(ip) == nil; got != tt.public {
			t.Errorf("%s by default: %v", tt.address, got)
		}
		if got := Anywhere.Permit(ip) == nil; got != tt.inner {
			t.Errorf("%s where all is allowed: %v", tt.address, got)
		}
	}
	some := Guard{Allow: prefixes("10.1.0.0/16")}
	if some.Permit(netip.MustParseAddr("10.1.9.9")) != nil || some.Permit(netip.MustParseAddr("10.2.0.1")) == nil {
		t.Error("an allowed network is not what is allowed")
	}
	if (Guard{}).Permit(netip.Addr{}) == nil {
		t.Error("no address at all is allowed")
	}
}

// TestClient calls by name and by number: what counts is the address that is dialled.
func TestClient(t *testing.T) {
	t.Parallel()
	calls := 0
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		if r.URL.Path == "/elsewhere" {
			t.Error("a redirect was followed")
		}
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}))
	defer up.Close()
	byName := strings.Replace(up.URL, "127.0.0.1", "localhost", 1)
	for _, address := range []string{up.URL, byName} {
		if _, err := send(t, Guard{}, address); !errors.Is(err, ErrForbidden) {
			t.Errorf("%s by default: %v", address, err)
		}
	}
	if calls != 0 {
		t.Fatalf("%d requests arrived where none may", calls)
	}
	status, err := send(t, Loopback, up.URL)
	if err != nil || status != http.StatusTemporaryRedirect || calls != 1 {
		t.Errorf("allowed: status %d, %v, %d calls", status, err, calls)
	}
}

func send(t *testing.T, g Guard, address string) (int, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, io.NopCloser(strings.NewReader("{}")))
	if err != nil {
		t.Fatal(err)
	}
	client := g.Client(5*time.Second, nil)
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	Drain(resp.Body)
	return resp.StatusCode, nil
}
