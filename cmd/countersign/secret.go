package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"countersign/internal/secret"
)

// secretCmd keeps secrets in the keyring of the operating system, for --secret keyring:NAME and the gateway's file.
type secretCmd struct {
	Set    secretSetCmd    `cmd:"" help:"Store a secret, read from standard input."`
	Delete secretDeleteCmd `cmd:"" help:"Take a secret out of the keyring."`
}

type secretSetCmd struct {
	Name string `arg:"" help:"Name of the entry, as agent-key."`
}

// Run stores what it reads. A secret on a command line would be in the history of the shell.
func (cmd secretSetCmd) Run(c *console) error {
	if info, err := c.input().Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		fmt.Fprintln(c.err, "Paste the secret, then end the line and press ^D. To keep it off the screen: countersign secret set "+cmd.Name+" < FILE")
	}
	value, err := io.ReadAll(io.LimitReader(c.input(), 128<<10))
	if err != nil {
		return fmt.Errorf("reading the secret: %w", err)
	}
	if len(value) == 0 {
		return errors.New("nothing was given on standard input; as in: countersign secret set " + cmd.Name + " < FILE")
	}
	if err := secret.Set(cmd.Name, string(value)); err != nil {
		return err
	}
	fmt.Fprintf(c.out, "Stored. Use it as keyring:%s\n", cmd.Name)
	return nil
}

type secretDeleteCmd struct {
	Name string `arg:"" help:"Name of the entry."`
}

// Run deletes an entry.
func (cmd secretDeleteCmd) Run(c *console) error {
	if err := secret.Delete(cmd.Name); err != nil {
		return err
	}
	fmt.Fprintln(c.out, "Deleted.")
	return nil
}
