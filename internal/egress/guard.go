// Package egress calls addresses that somebody else chose, and no others than it may.
//
// Whoever may type an address into a form could make us ask what only we can reach: the metadata service of a
// cloud, a database's port, a neighbour's console. So each connection is judged by the address that is really
// dialled, after the name was resolved, and no name can lead it astray:
//
//	name ── resolved ──▶ address ── Guard.Permit ──┬─▶ connect
//	                                               └─▶ ErrForbidden, before a byte is sent
//
// Public addresses are allowed. Private, loopback, shared, reserved and documentation addresses are allowed where
// a network of Guard.Allow holds them. Link-local addresses, multicast and where clouds keep credentials never are.
// An IPv4 address inside an IPv6 one that a translator turns back is judged as what it becomes.
package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"
)

// ErrForbidden says that an address is none that may be called.
var ErrForbidden = errors.New("the address is private, loopback or link-local")

// Guard says which addresses may be called. The zero value allows public ones alone.
type Guard struct {
	Allow []netip.Prefix // networks that may be called although they are not public
}

// Anywhere allows all networks that are not public either.
var Anywhere = Guard{Allow: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}}

// Loopback allows this machine beside public addresses.
var Loopback = Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}}

// Permit returns nil, or ErrForbidden for an address that may not be called.
func (g Guard) Permit(ip netip.Addr) error {
	ip = translated(ip.WithZone("").Unmap())
	switch {
	case !ip.IsValid(), ip.IsUnspecified(), ip.IsMulticast(), ip.IsLinkLocalUnicast(), inAny(ip, never):
		return ErrForbidden
	case inAny(ip, g.Allow):
		return nil
	case ip.IsLoopback(), ip.IsPrivate(), inAny(ip, special):
		return ErrForbidden
	}
	return nil
}

// Dialer connects to permitted addresses alone.
func (g Guard) Dialer() *net.Dialer {
	return &net.Dialer{
		Timeout: 10 * time.Second, KeepAlive: 30 * time.Second,
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(address)
			if err != nil {
				return ErrForbidden
			}
			return g.Permit(ap.Addr())
		},
	}
}

// translated is the IPv4 address inside an address that a translator turns back into it.
func translated(ip netip.Addr) netip.Addr {
	if !ip.Is6() || ip.IsUnspecified() || ip.IsLoopback() {
		return ip
	}
	raw := ip.As16()
	switch {
	case inAny(ip, inLast):
		return netip.AddrFrom4([4]byte(raw[12:]))
	case sixToFour.Contains(ip):
		return netip.AddrFrom4([4]byte(raw[2:6]))
	}
	return ip
}

var (
	// inLast have the IPv4 address in the last four bytes: NAT64, the stateless translation, the old compatible form.
	inLast    = prefixes("64:ff9b::/96", "::ffff:0:0:0/96", "::/96")
	sixToFour = netip.MustParsePrefix("2002::/16")

	// never is not even called when private addresses are: here clouds keep credentials, beside link-local addresses.
	never = prefixes("169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32",
		"fd00:ec2::/32", "fd20:ce::254/128", "0.0.0.0/8", "255.255.255.255/32")

	// special is beside what netip calls private: shared, protocol, benchmark, documentation, tunnelled, reserved.
	special = prefixes("100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15", "192.0.2.0/24", "198.51.100.0/24",
		"203.0.113.0/24", "192.88.99.0/24", "240.0.0.0/4", "64:ff9b:1::/48", "2001::/23", "2001:db8::/32", "3fff::/20",
		"5f00::/16", "fec0::/10", "100::/64")
)

func prefixes(list ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, p := range list {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

func inAny(ip netip.Addr, list []netip.Prefix) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(ip) })
}
