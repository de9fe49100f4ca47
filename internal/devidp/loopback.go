package devidp

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
)

// ErrNotLoopback is in every refusal of an address that others could reach.
var ErrNotLoopback = errors.New("the development identity provider works on loopback only (127.0.0.1, ::1 or localhost)")

// Listen opens a TCP listener on a loopback address. The host must be said: ":8081" would
// listen everywhere and is refused.
func Listen(address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("reading the address of the development identity provider: %w", err)
	}
	if !isLoopback(host) {
		return nil, fmt.Errorf("listening on %q: %w", address, ErrNotLoopback)
	}
	l, err := net.Listen("tcp", address) //nolint:noctx // opening a socket on loopback waits for nobody
	if err != nil {
		return nil, fmt.Errorf("listening on %q: %w", address, err)
	}
	// The name localhost is whatever the resolver says.
	if !isLoopbackPeer(l.Addr().String()) {
		return nil, errors.Join(fmt.Errorf("listening on %q: %w", address, ErrNotLoopback), l.Close())
	}
	return l, nil
}

// isLoopback reports whether host, a name or an address without a port, is this machine.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// isLoopbackPeer is isLoopback for the literal address of a socket.
func isLoopbackPeer(hostport string) bool {
	addr, err := netip.ParseAddrPort(hostport)
	return err == nil && addr.Addr().Unmap().IsLoopback()
}

// loopbackOnly refuses requests which came from, or were meant for, another machine.
func (p *Provider) loopbackOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		if !isLoopbackPeer(r.RemoteAddr) || !isLoopback(host) {
			p.log.WarnContext(r.Context(), "refused a request from beyond loopback",
				slog.String("peer", r.RemoteAddr), slog.String("host", r.Host))
			http.Error(w, ErrNotLoopback.Error(), http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}
