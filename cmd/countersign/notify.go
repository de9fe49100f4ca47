package main

import (
	"net/netip"

	"countersign/notify"
	"countersign/server"
)

// notifyFlags say how people are told, for whoever runs a control plane.
type notifyFlags struct {
	SMTPURL      string   `name:"smtp-url" env:"COUNTERSIGN_SMTP_URL" help:"Relay that takes mail: smtp://user:password@host:port, or smtps://. TLS is required, save on loopback. Give it in the environment: it has a password."`
	MailFrom     string   `name:"mail-from" env:"COUNTERSIGN_MAIL_FROM" help:"Whom mail is from, as Countersign <countersign@example.com>."`
	AllowPrivate []string `name:"allow-private" env:"COUNTERSIGN_ALLOW_PRIVATE" help:"Networks that are not public in which webhooks may be called, as 10.1.0.0/16."`
}

// into sets cfg; local networks may be called beside those of the flags.
func (f notifyFlags) into(cfg *server.Config, local ...netip.Prefix) error {
	allowed, err := prefixes("--allow-private", f.AllowPrivate)
	if err != nil {
		return err
	}
	cfg.AllowPrivate = append(allowed, local...)
	cfg.Mail, err = notify.ReadMail(f.SMTPURL, f.MailFrom)
	return err
}
