package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/goccy/go-yaml"
	"golang.org/x/sync/errgroup"

	"countersign/client"
	"countersign/gateway"
)

type gatewayCmd struct {
	Config string `required:"" type:"existingfile" env:"COUNTERSIGN_GATEWAY_CONFIG" help:"The gateway's configuration (YAML); see docs/operations.md."`
}

// Run enforces the policy of the control plane it is enrolled at, until ctx ends. Then it drains: what runs may end. A
// second SIGTERM or ^C stops it at once.
func (cmd gatewayCmd) Run(ctx context.Context, c *console) error {
	config, err := gateway.LoadConfig(cmd.Config)
	if err != nil {
		return err
	}
	life, atOnce := context.WithCancel(context.WithoutCancel(ctx))
	defer atOnce()
	gw, err := newGateway(life, config, c)
	if err != nil {
		return err
	}
	defer onSecondSignal(atOnce)()
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGHUP)
	defer signal.Stop(again)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return gw.FollowConfig(ctx, cmd.Config, again) })
	g.Go(func() error {
		return gw.Serve(ctx, func(address net.Addr) {
			fmt.Fprintf(c.out, "Gateway %s on %s, enforcing the policy of %s\n", config.Resource, address, config.ControlPlane)
		})
	})
	return g.Wait()
}

// onSecondSignal calls now when a second signal to stop arrives; the first one ended a context already.
func onSecondSignal(now func()) (stop func()) {
	signals, done := make(chan os.Signal, 2), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		for range 2 {
			select {
			case <-signals:
			case <-done:
				return
			}
		}
		now()
	}()
	return func() {
		signal.Stop(signals)
		close(done)
	}
}

// newGateway makes a gateway with the credential that its configuration names.
func newGateway(ctx context.Context, config gateway.Config, c *console) (*gateway.Gateway, error) {
	settings, err := config.ClientConfig()
	if err != nil {
		return nil, err
	}
	settings.Version, settings.Log = version, c.log
	control, err := client.New(settings)
	if err != nil {
		return nil, err
	}
	return gateway.New(ctx, config, control, c.log)
}

// loadCommands reads the stdio servers that the gateway of countersign up may start: name to argv, env and dir,
// as under commands in a gateway's configuration.
func loadCommands(path string) (map[string]gateway.Command, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading --commands: %w", err)
	}
	var commands map[string]gateway.Command
	if err := yaml.UnmarshalWithOptions(data, &commands, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("reading --commands %s: %w", path, err)
	}
	return commands, nil
}
