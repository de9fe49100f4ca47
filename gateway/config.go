package gateway

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"countersign/canonical"
	"countersign/client"
	"countersign/internal/secret"
)

// Config is the whole configuration of a gateway, as its YAML file says it. Upstream credentials and command
// lines are here and nowhere else: the control plane never learns them. What is tagged as fixed takes a restart to
// change; everything else may change while the gateway runs, so nobody keeps a copy of it.
type Config struct {
	ControlPlane     string `yaml:"control_plane" running:"fixed"`
	RootKey          string `yaml:"root_key" running:"fixed"` // thumbprint of the control plane's root key; "": pinned at first contact
	ClientID         string `yaml:"client_id" running:"fixed"`
	ClientSecretFile string `yaml:"client_secret_file" running:"fixed"` // or COUNTERSIGN_CLIENT_SECRET
	Listen           string `yaml:"listen" running:"fixed"`
	Resource         string `yaml:"resource" running:"fixed"`  // our own URL: callers' tokens must have it as audience
	StateDir         string `yaml:"state_dir" running:"fixed"` // last known good policy, pinned keys, spool
	Instance         string `yaml:"instance" running:"fixed"`  // "": the host name

	Issuers               []Issuer            `yaml:"issuers"`
	Origins               []string            `yaml:"origins"` // browsers may call from there, beside the resource itself
	AllowPrivateUpstreams bool                `yaml:"allow_private_upstreams" running:"fixed"`
	Commands              map[string]Command  `yaml:"commands"`
	Upstreams             map[string]Upstream `yaml:"upstreams"` // by name of the server

	Output Output `yaml:"output"` // what is made safe in what servers answer

	HoldWait     time.Duration  `yaml:"hold_wait"`     // wait so long for a decision before answering that a call is held
	ObserveEvery time.Duration  `yaml:"observe_every"` // look at each upstream's definitions so often
	Limits       Limits         `yaml:"limits"`        // of what goes on at once
	Callers      CallerTimeouts `yaml:"caller_timeouts" running:"fixed"`
	MaxProcesses int            `yaml:"max_processes"` // stdio servers at once
	DrainDelay   time.Duration  `yaml:"drain_delay"`   // before stopping: still serve so long, for balancers to notice
	DrainTimeout time.Duration  `yaml:"drain_timeout"` // then let what runs end, for so long

	Metrics Metrics `yaml:"metrics" running:"fixed"`
	Traces  Traces  `yaml:"traces" running:"fixed"`
}

// Issuer is an identity provider whose tokens callers may present.
type Issuer struct {
	Issuer     string   `yaml:"issuer"`
	Algorithms []string `yaml:"algorithms"` // none: RS256, ES256 and EdDSA

	Audience    []string       `yaml:"audience"`     // taken beside the resource, for providers that cannot be asked for it
	ClockLeeway *time.Duration `yaml:"clock_leeway"` // how far its clock and ours may be apart; none: a minute
	Claims      Claims         `yaml:"claims"`

	// SecondFactorACR are the acr_values by which a client asks this provider for a second factor. Callers who lack one are
	// told them. None: the provider is asked for it in no such way.
	SecondFactorACR []string `yaml:"second_factor_acr"`
}

// Claims names the claims of a provider's tokens that say who calls. Those that are not named are the usual ones: sub,
// groups, azp or else client_id, and model.
type Claims struct {
	Subject string `yaml:"subject"`
	Groups  string `yaml:"groups"`
	Agent   string `yaml:"agent"`
	Model   string `yaml:"model"`
}

// Command is a stdio server that this gateway may start. Nothing of the gateway's environment reaches it but
// the variables named in Env.
type Command struct {
	Argv []string `yaml:"argv"`
	Env  []string `yaml:"env"`
	Dir  string   `yaml:"dir"`

	Sandbox *Sandbox      `yaml:"sandbox"`       // nil: none
	Start   time.Duration `yaml:"start_timeout"` // so long may it take until its first answer
}

// Upstream is what the gateway adds to requests to one server. A value is env:NAME, file:PATH or keyring:NAME.
type Upstream struct {
	Headers  map[string]string `yaml:"headers"`
	OAuth    *OAuth            `yaml:"oauth"`  // nil: none
	Output   Output            `yaml:"output"` // what it leaves open is as for all servers
	Limits   UpstreamLimits    `yaml:"limits"`
	Timeouts Timeouts          `yaml:"timeouts"`
}

// Defaults and bounds of the configuration.
const (
	defaultObserveEvery = time.Minute
	defaultProcesses    = 32
	defaultLeeway       = time.Minute
	maxLeeway           = 5 * time.Minute
	maxHoldWait         = 45 * time.Second
	defaultDrainTimeout = 25 * time.Second
	maxDrain            = 10 * time.Minute
	maxStart            = 10 * time.Minute
	secretVariable      = "COUNTERSIGN_CLIENT_SECRET"
)

// algorithms are those a token may be signed by: asymmetric ones only.
var algorithms = []string{"EdDSA", "ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}

// LoadConfig reads a YAML file, strictly: a key that is not known is an error with its line and column.
func LoadConfig(path string) (Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("reading gateway configuration: %w", err)
	}
	return parseConfig(path, data)
}

// parseConfig reads and checks what a file at path holds.
func parseConfig(path string, data []byte) (Config, error) {
	var c Config
	if err := yaml.UnmarshalWithOptions(data, &c, yaml.Strict()); err != nil {
		return Config{}, fmt.Errorf("reading gateway configuration %s: %w", path, err)
	}
	if err := c.Validate(); err != nil {
		return Config{}, fmt.Errorf("reading gateway configuration %s: %w", path, err)
	}
	return c, nil
}

// withDefaults is c with what it leaves open.
func (c Config) withDefaults() Config {
	if c.ObserveEvery == 0 {
		c.ObserveEvery = defaultObserveEvery
	}
	if c.MaxProcesses == 0 {
		c.MaxProcesses = defaultProcesses
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = defaultDrainTimeout
	}
	c.Limits, c.Callers = c.Limits.orDefault(), c.Callers.orDefault()
	return c
}

// Validate says everything that is wrong with c.
func (c Config) Validate() error {
	var errs []error
	require := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	require(absolute(c.ControlPlane), "control_plane must be an http or https URL")
	require(c.RootKey == "" || client.IsThumbprint(c.RootKey), "root_key must be the 43 characters that countersign keys list shows")
	require(absolute(c.Resource), "resource must be an http or https URL: the address of this gateway as callers see it")
	require(!strings.HasSuffix(c.Resource, "/"), "resource must not end with a slash")
	require(c.ClientID != "", "client_id is missing")
	require(c.Listen != "", "listen is missing")
	require(c.StateDir != "", "state_dir is missing")
	require(c.HoldWait >= 0 && c.HoldWait <= maxHoldWait, "hold_wait must be from 0s to %s", maxHoldWait)
	require(c.ObserveEvery >= 0, "observe_every must not be negative")
	require(c.MaxProcesses >= 0, "max_processes must not be negative")
	require(c.DrainDelay >= 0 && c.DrainDelay <= maxDrain, "drain_delay must be from 0s to %s", maxDrain)
	require(c.DrainTimeout >= 0 && c.DrainTimeout <= maxDrain, "drain_timeout must be from 0s to %s", maxDrain)
	for _, i := range c.Issuers {
		errs = append(errs, i.validate())
	}
	errs = append(errs, validateCommands(c.Commands), c.Metrics.validate(), c.Traces.validate(), c.Output.validate("output"), c.validateBounds(), c.Callers.validate())
	for server, u := range c.Upstreams {
		errs = append(errs, u.Output.validate(fmt.Sprintf("upstream %q: output", server)))
		if err := u.OAuth.validate(u.Headers); err != nil {
			errs = append(errs, fmt.Errorf("upstream %q: %w", server, err))
		}
		for header, source := range u.Headers {
			require(secret.Source(source).Validate() == nil,
				"upstream %q: header %q must come from env:NAME, file:PATH or keyring:NAME, never from this file", server, header)
			require(!reservedHeader(header), "upstream %q: header %q belongs to the protocol", server, header)
		}
	}
	return errors.Join(errs...)
}

// validate says everything that is wrong with i.
func (i Issuer) validate() error {
	var errs []error
	require := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("issuer %q: "+format, append([]any{i.Issuer}, args...)...))
		}
	}
	require(absolute(i.Issuer), "must be an http or https URL")
	for _, a := range i.Algorithms {
		require(slices.Contains(algorithms, a), "algorithm %q is not one of %s", a, strings.Join(algorithms, ", "))
	}
	for _, class := range i.SecondFactorACR {
		require(class != "" && !strings.ContainsFunc(class, unquotable), "second_factor_acr %q must be printable ASCII without spaces and quotation marks", class)
	}
	for _, a := range i.Audience {
		require(a != "", "audience holds an empty text")
	}
	require(i.ClockLeeway == nil || *i.ClockLeeway >= 0 && *i.ClockLeeway <= maxLeeway, "clock_leeway must be from 0s to %s", maxLeeway)
	return errors.Join(errs...)
}

func validateCommands(commands map[string]Command) error {
	var errs []error
	for name, cmd := range commands {
		if len(cmd.Argv) == 0 || cmd.Argv[0] == "" {
			errs = append(errs, fmt.Errorf("command %q needs argv", name))
		}
		if cmd.Start < 0 || cmd.Start > maxStart {
			errs = append(errs, fmt.Errorf("command %q: start_timeout must be from 0s to %s", name, maxStart))
		}
		errs = append(errs, cmd.Sandbox.validate(name))
		for _, v := range cmd.Env {
			if v == "" || strings.ContainsAny(v, "=\x00") {
				errs = append(errs, fmt.Errorf("command %q: env lists names of variables, without values", name))
			}
		}
	}
	return errors.Join(errs...)
}

// LoadCommands reads a YAML file that holds only the commands of a configuration, by name, as strictly as
// LoadConfig.
func LoadCommands(path string) (map[string]Command, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading commands: %w", err)
	}
	commands := map[string]Command{}
	if err := yaml.UnmarshalWithOptions(data, &commands, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("reading commands %s: %w", path, err)
	}
	if err := validateCommands(commands); err != nil {
		return nil, fmt.Errorf("reading commands %s: %w", path, err)
	}
	return commands, nil
}

func absolute(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == ""
}

// ClientSecret reads the gateway's own secret, from the file or from the environment.
func (c Config) ClientSecret() (client.Secret, error) {
	if c.ClientSecretFile == "" {
		if secret := os.Getenv(secretVariable); secret != "" {
			return client.Secret(secret), nil
		}
		return "", errors.New("the gateway's secret is in neither client_secret_file nor " + secretVariable)
	}
	data, err := os.ReadFile(c.ClientSecretFile)
	if err != nil {
		return "", fmt.Errorf("reading the gateway's secret: %w", err)
	}
	return client.Secret(strings.TrimSpace(string(data))), nil
}

// ClientConfig is the part of c that package client needs. The caller adds version and logger.
func (c Config) ClientConfig() (client.Config, error) {
	secret, err := c.ClientSecret()
	if err != nil {
		return client.Config{}, err
	}
	instance := c.Instance
	if instance == "" {
		if instance, err = os.Hostname(); err != nil {
			return client.Config{}, fmt.Errorf("naming this instance: %w", err)
		}
	}
	return client.Config{ControlPlane: c.ControlPlane, ClientID: c.ClientID, ClientSecret: secret, Instance: instance}, nil
}

// startTime is how long its process may take until its first answer.
func (c Command) startTime() time.Duration {
	if c.Start == 0 {
		return defaultStart
	}
	return c.Start
}

// Digest identifies the command line and its sandbox; see client.CommandDigest.
func (c Command) Digest() (canonical.Digest, error) {
	argv, err := c.digestArgv()
	if err != nil {
		return canonical.Digest{}, err
	}
	return client.CommandDigest(argv, c.Env, c.Dir)
}

// Offered lists what stdio servers c can start, by name and digest.
func (c Config) Offered() ([]client.Command, error) {
	var offered []client.Command
	for name, cmd := range c.Commands {
		digest, err := cmd.Digest()
		if err != nil {
			return nil, fmt.Errorf("command %q: %w", name, err)
		}
		offered = append(offered, client.Command{Name: name, Digest: digest})
	}
	slices.SortFunc(offered, func(a, b client.Command) int { return strings.Compare(a.Name, b.Name) })
	return offered, nil
}
