package devidp_test

import (
	"crypto/rsa"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"countersign/internal/devidp"
)

func TestNewRefusesWhatIsBeyondLoopback(t *testing.T) {
	t.Parallel()
	client := func(redirect, afterLogout string) devidp.Config {
		return devidp.Config{Issuer: "http://127.0.0.1:8082", Clients: []devidp.Client{{
			ID: "console", RedirectURIs: []string{redirect}, PostLogoutRedirectURIs: []string{afterLogout},
		}}}
	}
	for name, cfg := range map[string]devidp.Config{
		"issuer on a network":          {Issuer: "http://192.0.2.1:8082"},
		"issuer everywhere":            {Issuer: "http://0.0.0.0:8082"},
		"issuer with a public name":    {Issuer: "https://login.example.com"},
		"issuer that looks like it":    {Issuer: "http://localhost.example.com"},
		"issuer 127.1 by another name": {Issuer: "http://127.0.0.1.nip.io:8082"},
		"redirect URI elsewhere":       client("https://console.example.com/callback", "http://127.0.0.1:8080/"),
		"address after logout":         client("http://127.0.0.1:8080/callback", "https://console.example.com/"),
	} {
		if _, err := devidp.New(cfg); !errors.Is(err, devidp.ErrNotLoopback) {
			t.Errorf("%s: got %v, want ErrNotLoopback", name, err)
		}
	}
	for name, cfg := range map[string]devidp.Config{
		"issuer with a path":      {Issuer: "http://127.0.0.1:8082/idp"},
		"issuer with a slash":     {Issuer: "http://127.0.0.1:8082/"},
		"no issuer":               {},
		"a client that is twice":  {Issuer: "http://127.0.0.1:8082", Clients: []devidp.Client{{ID: "a"}, {ID: "a"}}},
		"a person that is twice":  {Issuer: "http://127.0.0.1:8082", People: []devidp.Person{{Subject: "a"}, {Subject: "a"}}},
		"an RSA assertion key":    {Issuer: "http://127.0.0.1:8082", Clients: []devidp.Client{{ID: "a", AssertionKey: &rsa.PublicKey{}}}},
		"a signing key too short": {Issuer: "http://127.0.0.1:8082", Key: make([]byte, 3)},
	} {
		if _, err := devidp.New(cfg); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	for _, issuer := range []string{"http://127.0.0.1:8082", "http://localhost:8082", "http://[::1]:8082"} {
		if _, err := devidp.New(devidp.Config{Issuer: issuer}); err != nil {
			t.Errorf("issuer %s: %v", issuer, err)
		}
	}
}

func TestListenRefusesWhatIsBeyondLoopback(t *testing.T) {
	t.Parallel()
	for _, address := range []string{":8082", "0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.com:80"} {
		l, err := devidp.Listen(address)
		if !errors.Is(err, devidp.ErrNotLoopback) {
			t.Errorf("%s: got %v, want ErrNotLoopback", address, err)
		}
		if l != nil {
			l.Close()
		}
	}
	l, err := devidp.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

func TestHandlerRefusesOtherMachines(t *testing.T) {
	t.Parallel()
	p, err := devidp.New(devidp.Config{Issuer: "http://127.0.0.1:8082"})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		peer, host string
		want       int
	}{
		"this machine":              {"127.0.0.1:5000", "127.0.0.1:8082", http.StatusOK},
		"this machine over IPv6":    {"[::1]:5000", "localhost:8082", http.StatusOK},
		"another machine":           {"192.0.2.7:5000", "127.0.0.1:8082", http.StatusMisdirectedRequest},
		"a rebound name":            {"127.0.0.1:5000", "evil.example:8082", http.StatusMisdirectedRequest},
		"a mapped container's peer": {"172.17.0.1:5000", "localhost:8082", http.StatusMisdirectedRequest},
	} {
		r := httptest.NewRequest(http.MethodGet, "/.well-known/openid-configuration", nil)
		r.RemoteAddr, r.Host = test.peer, test.host
		w := httptest.NewRecorder()
		p.Handler().ServeHTTP(w, r)
		if w.Code != test.want {
			t.Errorf("%s: status %d, want %d", name, w.Code, test.want)
		}
	}
}
