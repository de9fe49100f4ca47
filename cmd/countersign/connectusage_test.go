package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestConnectAndSecretSayWhatIsWrong: what cannot work is said at once, with what to do, and not at the first request.
func TestConnectAndSecretSayWhatIsWrong(t *testing.T) {
	t.Setenv("AGENT_EMPTY", " ")
	t.Setenv("AGENT_SECRET", "t0p-secret")
	const server, at = "com.example/orders", "--gateway=https://gateway.example"
	nowhere := filepath.Join(t.TempDir(), "nothing")
	tests := map[string]struct {
		args []string
		says string
	}{
		"no server's name":               {[]string{"connect", "orders", at, "--secret=env:AGENT_SECRET"}, "one slash"},
		"neither a gateway nor an up":    {[]string{"connect", server, "--data=" + nowhere}, "say where with --data or --gateway"},
		"no secret":                      {[]string{"connect", server, at}, "--secret is missing"},
		"no gateway":                     {[]string{"connect", server, "--secret=env:AGENT_SECRET"}, "--gateway is missing"},
		"a secret itself":                {[]string{"connect", server, at, "--secret=t0p-secret"}, "never as itself"},
		"a variable that is not set":     {[]string{"connect", server, at, "--secret=env:AGENT_NONE"}, "env:AGENT_NONE: the variable is not set"},
		"a variable that is empty":       {[]string{"connect", server, at, "--secret=env:AGENT_EMPTY"}, "it is empty"},
		"a file that is not there":       {[]string{"connect", server, at, "--secret=file:" + nowhere}, "no such file"},
		"a client without its provider":  {[]string{"connect", server, at, "--secret=env:AGENT_SECRET", "--client-id=x"}, "go together"},
		"an address without a scheme":    {[]string{"connect", server, "--gateway=127.0.0.1:8081", "--secret=env:AGENT_SECRET"}, "https://gateway.example"},
		"an address of something else":   {[]string{"connect", server, "--gateway=ftp://x", "--secret=env:AGENT_SECRET"}, "https://gateway.example"},
		"an address with the server":     {[]string{"connect", server, at + "/mcp/" + server, "--secret=env:AGENT_SECRET"}, "named beside it"},
		"an address with a name in it":   {[]string{"connect", server, "--gateway=https://me:t0p-secret@gateway.example", "--secret=env:AGENT_SECRET"}, "gateway alone"},
		"a client's secret that is gone": {[]string{"connect", server, at, "--secret=file:" + nowhere, "--issuer=https://login.example", "--client-id=x"}, "no such file"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out, told output
			code := Run(t.Context(), tt.args, &out, &told)
			if code != exitUsage || out.String() != "" || !strings.Contains(told.String(), tt.says) || strings.Contains(told.String(), "t0p-secret") {
				t.Errorf("exit %d, printed %q, told %q", code, out.String(), told.String())
			}
		})
	}

	empty, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = empty.Close() })
	var out output
	if err := (secretSetCmd{Name: "agent"}).Run(&console{in: empty, out: &out, err: &out}); err == nil || !strings.Contains(err.Error(), "countersign secret set agent < FILE") {
		t.Errorf("a secret of nothing: %v", err)
	}
}
