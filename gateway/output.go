package gateway

import (
	"errors"
	"fmt"
	"strings"

	"countersign/internal/cleanse"
)

// Output says what is made safe in what servers answer, beside hidden characters and terminal escapes, which always go.
type Output struct {
	Secrets       string   `yaml:"secrets"`        // redact or keep
	ActiveContent string   `yaml:"active_content"` // neutralise or keep
	AllowHosts    []string `yaml:"allow_hosts"`    // images of them may load; *.example.com is every host below it
}

const (
	keep       = "keep"
	redact     = "redact"
	neutralise = "neutralise"
)

func (o Output) validate(where string) error {
	var errs []error
	if o.Secrets != "" && o.Secrets != redact && o.Secrets != keep {
		errs = append(errs, fmt.Errorf("%s: secrets is redact or keep", where))
	}
	if o.ActiveContent != "" && o.ActiveContent != neutralise && o.ActiveContent != keep {
		errs = append(errs, fmt.Errorf("%s: active_content is neutralise or keep", where))
	}
	for _, host := range o.AllowHosts {
		name := strings.TrimPrefix(host, "*.")
		if name == "" || strings.ContainsFunc(name, notOfHost) || strings.HasPrefix(name, ".") || strings.Contains(name, "..") {
			errs = append(errs, fmt.Errorf("%s: allow_hosts has %q, which is no name of a host, without scheme and port", where, host))
		}
	}
	return errors.Join(errs...)
}

func notOfHost(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '-'
}

// outputOf is what holds for one server.
func (c *Config) outputOf(server string) Output {
	o, own := c.Output, c.Upstreams[server].Output
	if own.Secrets != "" {
		o.Secrets = own.Secrets
	}
	if own.ActiveContent != "" {
		o.ActiveContent = own.ActiveContent
	}
	if own.AllowHosts != nil {
		o.AllowHosts = own.AllowHosts
	}
	return o
}

func (o Output) options() cleanse.Options {
	return cleanse.Options{KeepSecrets: o.Secrets == keep, KeepActive: o.ActiveContent == keep, AllowHosts: o.AllowHosts}
}
