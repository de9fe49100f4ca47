package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
)

// final reports whether an error is about reaching the server at all, so that another protocol does not help.
func final(err error) bool {
	if err == nil {
		return false
	}
	for _, known := range []error{
		context.DeadlineExceeded, context.Canceled, errForbiddenAddress, errNoOutbound, errRedirect, errCredential, errHTML, errBigOffer, errProcess, errDied, errSlow, errStuck,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return errors.As(err, new(*net.OpError)) || errors.As(err, new(*net.DNSError)) || isTLS(err)
}

func isTLS(err error) bool {
	return errors.Is(err, http.ErrSchemeMismatch) || errors.As(err, new(*tls.CertificateVerificationError)) || errors.As(err, new(tls.RecordHeaderError)) ||
		errors.As(err, new(tls.AlertError)) || errors.As(err, new(x509.UnknownAuthorityError)) || errors.As(err, new(x509.HostnameError))
}

// explain says in our own words why a server could not be read, for the person who registered it. It repeats
// nothing that the server sent.
func explain(err error) string {
	var dns *net.DNSError
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "The server did not answer in time."
	case errors.Is(err, context.Canceled):
		return "Cancelled."
	case errors.Is(err, errForbiddenAddress):
		return sentence(errForbiddenAddress)
	case errors.As(err, &dns):
		return "The name of the server cannot be resolved."
	case errors.Is(err, syscall.ECONNREFUSED):
		return "The connection was refused: nothing listens at that address."
	case isTLS(err):
		return explainTLS(err)
	}
	for _, known := range []error{
		errRedirect, errCredential, errCompressed, errNotMCP, errHTML, errBadURL, errTooManyItems, errBigDefinition, errBigOffer,
		errEndless, errBadList, errNoHandshake, errEventTooLong, errProcess, errDied, errSlow, errStuck, errNoAnswer, errSilent, errTooSlow, errNoSandbox, errUnknownCommand, errOtherCommand, errManyProcesses,
	} {
		if errors.Is(err, known) {
			return sentence(known)
		}
	}
	if e := (*httpError)(nil); errors.As(err, &e) {
		return sentence(e)
	}
	if e := (*remoteError)(nil); errors.As(err, &e) {
		return sentence(e)
	}
	if errors.As(err, new(*net.OpError)) {
		return "The connection to the server failed."
	}
	return "The server could not be read."
}

// passing reports whether the reason may be gone in a few seconds: a server that is being started, or has too much to do.
// One that did not answer in time has taken long enough.
func passing(err error) bool {
	for _, stays := range []error{context.DeadlineExceeded, os.ErrDeadlineExceeded, errForbiddenAddress} {
		if errors.Is(err, stays) {
			return false
		}
	}
	if isTLS(err) {
		return false
	}
	if dns, is := errors.AsType[*net.DNSError](err); is {
		return dns.IsTemporary
	}
	if e := (*httpError)(nil); errors.As(err, &e) {
		return e.status == http.StatusTooManyRequests || e.status >= http.StatusInternalServerError
	}
	return errors.As(err, new(*net.OpError))
}

func explainTLS(err error) string {
	switch {
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return "TLS: the server's certificate is signed by an authority that this gateway does not know."
	case errors.As(err, new(x509.HostnameError)):
		return "TLS: the server's certificate is for another name."
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, new(tls.RecordHeaderError)):
		return "TLS: the server does not speak TLS at that address."
	}
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		return "TLS: the server's certificate has expired."
	}
	return "TLS: the connection could not be secured."
}

func sentence(err error) string {
	text := err.Error()
	return strings.ToUpper(text[:1]) + text[1:] + "."
}
