package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

// version is set by the build (-ldflags "-X main.version=…").
var version = "development"

// Exit codes of every subcommand; call adds those for what happened to the call.
const (
	exitDone   = 0
	exitError  = 1
	exitUsage  = 2
	exitDenied = 3
	exitHeld   = 4
)

type cli struct {
	Up      upCmd      `cmd:"" help:"Run everything on this machine: database, demo identity provider, control plane, gateway and a sample MCP server."`
	Serve   serveCmd   `cmd:"" help:"Run the control plane on the PostgreSQL of DATABASE_URL. Any number of replicas may run."`
	Migrate migrateCmd `cmd:"" help:"Bring the schema of DATABASE_URL up to date, as the owner of the database."`
	Gateway gatewayCmd `cmd:"" help:"Run the reference gateway."`
	Tools   toolsCmd   `cmd:"" help:"List the tools of a server that you may call through the gateway."`
	Call    callCmd    `cmd:"" help:"Call a tool through the gateway. Exit: 0 done, 1 error, 3 denied, 4 held for approval."`
	Connect connectCmd `cmd:"" help:"Use a server behind the gateway from a client that only speaks stdio: carries its messages to the gateway and back. Exit: 0 the client is done, 1 it does not read, 2 a wrong address or secret."`
	Secret  secretCmd  `cmd:"" help:"Keep secrets in the keyring of the operating system."`
	Import  importCmd  `cmd:"" help:"Propose the servers of a server.json, or of an MCP registry's listing, to a control plane."`
	Plan    planCmd    `cmd:"" help:"Show what it takes to make the registry what files say. Exit: 0 nothing to do, 2 changes, else 1 or 3."`
	Apply   applyCmd   `cmd:"" help:"Show the plan, ask, and do exactly that, all of it or nothing."`
	Export  exportCmd  `cmd:"" help:"Write the registry as files."`
	Explain explainCmd `cmd:"" help:"Say what would become of a call, and why. Exit: 0 allowed, 3 denied, 4 held for approval, else 1 or 2."`
	Policy  policyCmd  `cmd:"" help:"Policy tests."`
	Keys    keysCmd    `cmd:"" help:"List, rotate and withdraw signing keys, with the database and the key file."`
	Epoch   epochCmd   `cmd:"" help:"Move the epoch by hand, with the database."`
	Version versionCmd `cmd:"" help:"Print the version."`

	LogLevel  slog.Level `name:"log-level" env:"COUNTERSIGN_LOG_LEVEL" default:"INFO" help:"DEBUG, INFO, WARN or ERROR."`
	LogFormat string     `name:"log-format" env:"COUNTERSIGN_LOG_FORMAT" enum:"text,json" default:"text" help:"text or json."`
}

// console is where a subcommand talks to: people, or a client of MCP, on in and out, the log and errors on err.
type console struct {
	in       *os.File // nil: standard input
	out, err io.Writer
	log      *slog.Logger
}

// Run is the whole program: it parses args, runs the subcommand until it ends or ctx does, and gives the exit
// code. ^C and SIGTERM end it in order. Tests start the same Run as main does.
func Run(ctx context.Context, args []string, out, errOut io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	var c cli
	exit := -1
	parser, err := kong.New(&c,
		kong.Name("countersign"),
		kong.Description("The second signature for what agents do: a governance control plane for the Model Context Protocol."),
		kong.UsageOnError(), kong.Writers(out, errOut),
		kong.Exit(func(code int) { exit = code }),
		kong.BindTo(ctx, (*context.Context)(nil)))
	if err != nil {
		fmt.Fprintln(errOut, "countersign:", err)
		return exitError
	}
	command, err := parser.Parse(args)
	if exit >= 0 { // --help
		return exit
	}
	if err == nil {
		err = refuseUnknownEnvironment(parser.Model, os.Environ())
	}
	if err != nil {
		fmt.Fprintln(errOut, "countersign:", err)
		if len(args) > 0 && args[0] == "plan" { // its 2 means changes
			return exitError
		}
		return exitUsage
	}
	err = command.Run(&console{out: out, err: errOut, log: c.logger(errOut)})
	return exitCode(errOut, err)
}

// codeError is an error whose exit code is not 1; an empty message was already told.
type codeError struct {
	code    int
	message string
}

func (e codeError) Error() string { return e.message }

func exitCode(errOut io.Writer, err error) int {
	var exit codeError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &exit):
		if exit.message != "" {
			fmt.Fprintln(errOut, "countersign:", exit.message)
		}
		return exit.code
	}
	fmt.Fprintln(errOut, "countersign:", err)
	return exitError
}

func (c *cli) logger(w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.LogLevel}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// refuseUnknownEnvironment catches a misspelt setting, which would otherwise silently not apply.
func refuseUnknownEnvironment(model *kong.Application, environ []string) error {
	known := []string{"COUNTERSIGN_CLIENT_SECRET", "COUNTERSIGN_AGENT_KEY", "COUNTERSIGN_PG_BIN", "COUNTERSIGN_CHROMIUM", "COUNTERSIGN_NODE", "COUNTERSIGN_PYTHON"} // not flags: of the gateway, the supervisor, the tests
	_ = kong.Visit(model, func(node kong.Visitable, next kong.Next) error {
		if flag, ok := node.(*kong.Flag); ok {
			known = append(known, flag.Envs...)
		}
		return next(nil)
	})
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, "COUNTERSIGN_") && !slices.Contains(known, name) {
			return fmt.Errorf("environment variable %s is not a setting of Countersign; see countersign --help", name)
		}
	}
	return nil
}

type versionCmd struct{}

func (versionCmd) Run(c *console) error {
	_, err := fmt.Fprintln(c.out, "countersign", version)
	return err
}
