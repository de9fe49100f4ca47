package gateway

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// dialer opens connections to upstreams. What it may reach is checked on the address that is really dialled,
// after the name was resolved, so that no name can lead it astray.
type dialer struct {
	net.Dialer

	private bool // private and loopback addresses are allowed too
}

var errForbiddenAddress = errors.New("the address is private, loopback or link-local; this gateway does not call such (allow_private_upstreams)")

func newDialer(private bool) *dialer {
	d := &dialer{private: private}
	d.Timeout, d.KeepAlive = 10*time.Second, 30*time.Second
	d.ControlContext = func(_ context.Context, _, address string, _ syscall.RawConn) error { return d.permit(address) }
	return d
}

// permit decides on a resolved address.
func (d *dialer) permit(address string) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return errForbiddenAddress
	}
	ip := embedded(ap.Addr().WithZone("").Unmap())
	switch {
	case ip.IsLinkLocalUnicast(), ip.IsMulticast(), ip.IsUnspecified(), !ip.IsValid(), inAny(ip, never):
		return errForbiddenAddress
	case d.private:
		return nil
	case ip.IsLoopback(), ip.IsPrivate(), inAny(ip, special):
		return errForbiddenAddress
	}
	return nil
}

// embedded is the IPv4 address inside an address that a translator turns back into it.
func embedded(ip netip.Addr) netip.Addr {
	if !ip.Is6() {
		return ip
	}
	raw := ip.As16()
	switch {
	case netip.MustParsePrefix("64:ff9b::/96").Contains(ip):
		return netip.AddrFrom4([4]byte(raw[12:]))
	case netip.MustParsePrefix("2002::/16").Contains(ip):
		return netip.AddrFrom4([4]byte(raw[2:6]))
	}
	return ip
}

// never is not even reached when private addresses are: link-local beside them, it is where clouds keep
// credentials.
var never = prefixes("169.254.0.0/16", "fd00:ec2::254/128", "0.0.0.0/8", "255.255.255.255/32")

// special is beside what netip calls private: shared, protocol, benchmark, documentation, reserved.
var special = prefixes("100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15", "192.0.2.0/24", "198.51.100.0/24",
	"203.0.113.0/24", "240.0.0.0/4", "64:ff9b:1::/48", "2001:db8::/32", "fec0::/10", "100::/64")

func prefixes(list ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, p := range list {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

func inAny(ip netip.Addr, list []netip.Prefix) bool {
	for _, p := range list {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// transport is HTTP over d: no proxy from the environment, nothing decompressed behind our back.
func (d *dialer) transport() *http.Transport {
	return &http.Transport{
		DialContext: d.DialContext, ForceAttemptHTTP2: true, DisableCompression: true,
		MaxIdleConns: 1000, MaxIdleConnsPerHost: 100, IdleConnTimeout: 90 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second, MaxResponseHeaderBytes: 64 << 10,
	}
}
