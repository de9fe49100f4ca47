package gateway

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"syscall"

	"countersign/internal/egress"
)

// dialer opens connections to upstreams. What it may reach is checked on the address that is really dialled,
// after the name was resolved, so that no name can lead it astray.
type dialer struct {
	net.Dialer

	guard egress.Guard
}

var errForbiddenAddress = errors.New("the address is private, loopback or link-local; this gateway does not call such (allow_private_upstreams)")

// newDialer allows private and loopback addresses too when private is set.
func newDialer(private bool) *dialer {
	var guard egress.Guard
	if private {
		guard = egress.Anywhere
	}
	d := &dialer{Dialer: *guard.Dialer(), guard: guard}
	d.ControlContext = func(_ context.Context, _, address string, _ syscall.RawConn) error { return d.permit(address) }
	return d
}

// permit decides on a resolved address.
func (d *dialer) permit(address string) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil || d.guard.Permit(ap.Addr()) != nil {
		return errForbiddenAddress
	}
	return nil
}

// transport is HTTP over d.
func (d *dialer) transport() *http.Transport {
	t := d.guard.Transport()
	t.DialContext = d.DialContext
	return t
}
