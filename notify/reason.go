package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"syscall"

	gomail "github.com/wneessen/go-mail"

	"countersign/internal/egress"
)

// answerError is an answer of HTTP that is none of success.
type answerError int

func (e answerError) Error() string {
	if e >= 300 && e < 400 {
		return fmt.Sprintf("The receiver answered %d. Redirects are not followed: change the address instead.", int(e))
	}
	return fmt.Sprintf("The receiver answered %d.", int(e))
}

var errNoMail = errors.New("no mail is sent any more")

// reason says for people why an attempt failed. It tells nothing of an address, which may be secret, and repeats
// nothing that a receiver sent.
func (r result) reason() string {
	var dns *net.DNSError
	var answer answerError
	switch err := r.err; {
	case err == nil:
		return ""
	case errors.As(err, &answer):
		return answer.Error()
	case errors.Is(err, errNoMail):
		return "This control plane sends no mail any more: COUNTERSIGN_SMTP_URL is not set."
	case errors.Is(err, egress.ErrForbidden):
		return "The address is private, loopback or link-local. An operator may allow its network (COUNTERSIGN_ALLOW_PRIVATE)."
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), timedOut(err):
		return fmt.Sprintf("There was no answer within %d seconds.", int(sendTimeout.Seconds()))
	case errors.As(err, &dns):
		return "The name of the receiver cannot be resolved."
	case errors.Is(err, syscall.ECONNREFUSED):
		return "The connection was refused: nothing listens at that address."
	case errors.As(err, new(*tls.CertificateVerificationError)), errors.As(err, new(tls.RecordHeaderError)), errors.As(err, new(tls.AlertError)):
		return "No secure connection could be made: its certificate or its TLS is not good."
	}
	return mailReason(r.err)
}

func timedOut(err error) bool {
	var u *url.Error
	return errors.As(err, &u) && u.Timeout()
}

func mailReason(err error) string {
	var refused *gomail.SendError
	if !errors.As(err, &refused) {
		return "The connection to the receiver failed."
	}
	if code := refused.ErrorCode(); code > 0 {
		return fmt.Sprintf("The mail relay answered %d.", code)
	}
	return "The mail relay did not take the message."
}
