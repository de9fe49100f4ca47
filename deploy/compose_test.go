// Package deploy holds the test of what docker-compose.yml and the files in this folder say about our own program.
package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"countersign/gateway"
)

// service is what the tests read of a service of docker-compose.yml.
type service struct {
	Image       string            `yaml:"image"`
	Command     []string          `yaml:"command"`
	Environment map[string]string `yaml:"environment"`
	Volumes     []string          `yaml:"volumes"`
	ReadOnly    bool              `yaml:"read_only"`
	CapDrop     []string          `yaml:"cap_drop"`
	CapAdd      []string          `yaml:"cap_add"`
	Privileged  bool              `yaml:"privileged"`
	SecurityOpt []string          `yaml:"security_opt"`
}

func services(t *testing.T) map[string]service {
	t.Helper()
	text, err := os.ReadFile("../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Services map[string]service `yaml:"services"`
	}
	// A service may say otherwise than what it merges; this decoder calls that a duplicate.
	if err := yaml.UnmarshalWithOptions(text, &file, yaml.AllowDuplicateMapKey()); err != nil {
		t.Fatal(err)
	}
	if len(file.Services) == 0 {
		t.Fatal("docker-compose.yml has no services")
	}
	return file.Services
}

// TestComposeNamesRealSettings asks the program itself, by --help, for the subcommands, flags and variables
// that docker-compose.yml sets.
func TestComposeNamesRealSettings(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "countersign")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../cmd/countersign")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building countersign: %v\n%s", err, out)
	}
	seen := map[string]bool{}
	for name, s := range services(t) {
		if s.Image != "countersign" {
			continue
		}
		if len(s.Command) == 0 {
			t.Errorf("service %s has no subcommand", name)
			continue
		}
		seen[s.Command[0]] = true
		out, err := exec.CommandContext(t.Context(), program, s.Command[0], "--help").Output()
		if err != nil {
			t.Errorf("service %s: countersign %s --help: %v", name, s.Command[0], err)
		}
		help := strings.Join(strings.Fields(string(out)), " ") // lines are folded anywhere
		for _, argument := range s.Command[1:] {
			if strings.HasPrefix(argument, "--") && !regexp.MustCompile(argument+`\b`).MatchString(help) {
				t.Errorf("service %s: countersign %s has no flag %s", name, s.Command[0], argument)
			}
		}
		for variable := range s.Environment {
			if !regexp.MustCompile(`\$` + variable + `\b`).MatchString(help) {
				t.Errorf("service %s: countersign %s has no variable %s", name, s.Command[0], variable)
			}
		}
	}
	for _, want := range []string{"serve", "migrate", "gateway"} {
		if !seen[want] {
			t.Errorf("docker-compose.yml runs no %s", want)
		}
	}
}

func TestComposeIsHardened(t *testing.T) {
	t.Parallel()
	for name, s := range services(t) {
		if !s.ReadOnly || s.Privileged || len(s.CapAdd) > 0 ||
			strings.Join(s.CapDrop, " ") != "ALL" || strings.Join(s.SecurityOpt, " ") != "no-new-privileges:true" {
			t.Errorf("service %s is not hardened: %+v", name, s)
		}
	}
}

func TestComposeMountsWhatIsHere(t *testing.T) {
	t.Parallel()
	for name, s := range services(t) {
		for _, volume := range s.Volumes {
			source, _, _ := strings.Cut(volume, ":")
			if !strings.HasPrefix(source, "./") || source == "./deploy/gateway.secret" { // that one comes from enrolling
				continue
			}
			if _, err := os.Stat(filepath.Join("..", source)); err != nil {
				t.Errorf("service %s: %v", name, err)
			}
		}
	}
}

func TestGatewayConfigurationIsAccepted(t *testing.T) {
	t.Parallel()
	if _, err := gateway.LoadConfig("gateway.yaml"); err != nil {
		t.Error(err)
	}
}
