package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"countersign/internal/problem"
)

// publishedSchema is the JSON schema of server.json, as it is published in the Go module of the official registry.
var publishedSchema = sync.OnceValues(func() (*jsonschema.Schema, error) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/modelcontextprotocol/registry").Output()
	if err != nil {
		return nil, fmt.Errorf("looking for the registry's module: %w", err)
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "internal", "validators", "schemas", "2025-12-11.json"))
	if err != nil {
		return nil, err
	}
	schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("server.schema.json", schema); err != nil {
		return nil, err
	}
	return compiler.Compile("server.schema.json")
})

// wantValid fails unless v, encoded, is a server.json.
func wantValid(t testing.TB, v any) {
	t.Helper()
	schema, err := publishedSchema()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(value); err != nil {
		t.Errorf("%s is no server.json: %v", raw, err)
	}
}

const fullManifest = `{
  "$schema": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json",
  "name": "com.acme/weather", "title": "Weather", "description": "Forecasts and warnings", "version": "1.2.0-rc.1+7",
  "websiteUrl": "https://weather.example/docs?a=1", "unknown": {"a": [1, 2]},
  "repository": {"url": "https://github.com/acme/weather", "source": "github", "id": "1234", "subfolder": "src/mcp"},
  "icons": [{"src": "https://weather.example/icon.png", "mimeType": "image/png", "sizes": ["48x48", "any"], "theme": "dark", "x": 1}],
  "packages": [{
    "registryType": "npm", "registryBaseUrl": "https://registry.npmjs.org", "identifier": "@acme/weather", "version": "1.2.0",
    "fileSha256": "fe333e598595000ae021bd27117db32ec69af6987f507ba7a63c90638ff633ce", "runtimeHint": "npx",
    "transport": {"type": "streamable-http", "url": "http://localhost:{port}/mcp"},
    "runtimeArguments": [{"type": "positional", "value": "-y"}, {"type": "named", "name": "--port", "value": "{port}", "variables": {"port": {"format": "number", "default": "8080"}}}],
    "packageArguments": [{"type": "positional", "valueHint": "city", "isRequired": true, "isRepeated": true, "choices": ["Bern", "Oslo"]}],
    "environmentVariables": [{"name": "API_KEY", "isSecret": true, "isRequired": true, "description": "From the site.\nAsk for one.", "placeholder": "abc"}]
  }],
  "remotes": [
    {"type": "sse", "url": "https://weather.example/sse"},
    {"type": "streamable-http", "url": "https://{region}.weather.example/mcp", "variables": {"region": {"isRequired": true, "choices": ["eu", "us"]}}},
    {"type": "streamable-http", "url": "https://keys.weather.example/mcp", "headers": [{"name": "Authorization", "value": "Bearer {key}", "isSecret": true, "variables": {"key": {"isSecret": true}}}]},
    {"type": "streamable-http", "url": "https://mcp.weather.example/mcp", "headers": [{"name": "X-Client", "value": "countersign"}]}
  ],
  "_meta": {"io.modelcontextprotocol.registry/publisher-provided": {"tool": "x"}}
}`

func readOne(t testing.TB, text string) Entry {
	t.Helper()
	entries, err := ReadManifests([]byte(text))
	if err != nil || len(entries) != 1 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	return entries[0]
}

func TestManifestKeepsWhatItKnows(t *testing.T) {
	t.Parallel()
	e := readOne(t, fullManifest)
	if len(e.Problems) > 0 {
		t.Fatal(e.Problems)
	}
	wantValid(t, e.Manifest)
	raw, err := json.Marshal(e.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	var got, want map[string]any
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(fullManifest), &want); err != nil {
		t.Fatal(err)
	}
	for _, dropped := range []string{"$schema", "unknown", "_meta"} {
		delete(want, dropped)
	}
	delete(want["icons"].([]any)[0].(map[string]any), "x")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-given +kept):\n%s", diff)
	}
	if l, ok := e.Location(); !ok || l.URL != "https://mcp.weather.example/mcp" || l.Transport != StreamableHTTP {
		t.Errorf("located at %+v, %v; want the one that needs nothing", l, ok)
	}
	if again := readOne(t, string(raw)); cmp.Diff(e.Manifest, again.Manifest) != "" {
		t.Errorf("read again it is %+v", again)
	}
}

// with is a good server.json with one member replaced, or added.
func with(member, value string) string {
	members := []string{`"name":"com.acme/a"`, `"description":"A"`, `"version":"1"`}
	out := members[:0:0]
	for _, m := range members {
		if !strings.HasPrefix(m, `"`+member+`"`) {
			out = append(out, m)
		}
	}
	if value != "" {
		out = append(out, `"`+member+`":`+value)
	}
	return "{" + strings.Join(out, ",") + "}"
}

func TestHostileManifestsAreRefused(t *testing.T) {
	t.Parallel()
	icon := func(src string) string { return with("icons", `[{"src":"`+src+`"}]`) }
	remote := func(url string) string { return with("remotes", `[{"type":"streamable-http","url":"`+url+`"}]`) }
	header := func(h string) string {
		return with("remotes", `[{"type":"sse","url":"https://a.example","headers":[`+h+`]}]`)
	}
	pack := func(more string) string {
		return with("packages", `[{"registryType":"npm","identifier":"a","transport":{"type":"stdio"}`+more+`}]`)
	}
	for name, c := range map[string]struct{ text, want string }{
		"no name":                     {with("name", ""), "name is missing."},
		"a name with two slashes":     {with("name", `"com.acme/a/b"`), "name is no name like com.acme/orders."},
		"a name with a NUL":           {with("name", `"com.acme/a\u0000"`), "name holds U+0000, a control character."},
		"a name of another alphabet":  {with("name", `"com.аcme/a"`), "name is no name like com.acme/orders."},
		"a name that is a number":     {with("name", `7`), "name is no text."},
		"a name of dots":              {with("name", `"com.acme/.."`), "name is no name like com.acme/orders."},
		"no description":              {with("description", ""), "description is missing."},
		"a blank description":         {with("description", `" \n "`), "description is missing."},
		"a long description":          {with("description", `"`+strings.Repeat("é", 101)+`"`), "description is longer than 100 characters."},
		"a description that reorders": {with("description", `"a\u202eb"`), "description holds U+202E, a character that reorders the text around it."},
		"a description with a tag":    {with("description", `"a\udb40\udc41"`), "description holds U+E0041, a tag character, which can carry a hidden message."},
		"a title with an escape":      {with("title", `"\u001b[2J"`), "title holds U+001B, the start of a terminal escape."},
		"no version":                  {with("version", ""), "version is missing."},
		"a range":                     {with("version", `"^1.2.0"`), "version is no version like 1.0.2."},
		"another range":               {with("version", `"1.x"`), "version is no version like 1.0.2."},
		"the word latest":             {with("version", `"latest"`), "version is no version like 1.0.2."},
		"a version with a slash":      {with("version", `"1/2"`), "version is no version like 1.0.2."},

		"a script as the website":      {with("websiteUrl", `"javascript:alert(1)"`), "websiteUrl is no https address."},
		"in capitals":                  {with("websiteUrl", `"JavaScript://x.example/%0aalert(1)"`), "websiteUrl is no https address."},
		"after a blank":                {with("websiteUrl", `" javascript:alert(1)"`), "websiteUrl is no address."},
		"with a line break":            {with("websiteUrl", `"java\nscript:alert(1)"`), "websiteUrl holds U+000A, a control character."},
		"an address without a scheme":  {with("websiteUrl", `"//evil.example"`), "websiteUrl is no https address."},
		"a website by http":            {with("websiteUrl", `"http://a.example"`), "websiteUrl is an http address, which is for one's own machine only."},
		"a website with a password":    {with("websiteUrl", `"https://a:b@c.example"`), "websiteUrl carries a user name or a password."},
		"a website with a quote":       {with("websiteUrl", `"https://a.example/\"><script>"`), "websiteUrl is no address."},
		"a website without a host":     {with("websiteUrl", `"https:evil"`), "websiteUrl is an address without a host."},
		"a host of another alphabet":   {with("websiteUrl", `"https://аcme.example"`), "websiteUrl is no address."},
		"an icon that is a script":     {icon("javascript:alert(1)"), "icons[0].src is no https address."},
		"an icon in itself":            {icon("data:image/svg+xml,<svg/>"), "icons[0].src is no address."},
		"an icon of this machine":      {icon("file:///etc/passwd"), "icons[0].src is no https address."},
		"an icon by http":              {icon("http://localhost/a.png"), "icons[0].src is no https address."},
		"an icon with a password":      {icon("https://u:p@a.example/i.png"), "icons[0].src carries a user name or a password."},
		"a long icon":                  {icon("https://a.example/" + strings.Repeat("i", 255)), "icons[0].src is longer than 255 characters."},
		"no icon":                      {with("icons", `[{}]`), "icons[0].src is missing."},
		"an icon of another kind":      {with("icons", `[{"src":"https://a.example/i","mimeType":"text/html"}]`), "icons[0].mimeType is none of " + strings.Join(iconTypes, ", ") + "."},
		"an icon of a strange size":    {with("icons", `[{"src":"https://a.example/i","sizes":["big"]}]`), "icons[0].sizes[0] is no size like 48x48."},
		"icons that are no list":       {with("icons", `{"src":"https://a.example/i"}`), "icons is no list."},
		"too many icons":               {with("icons", `[`+strings.TrimSuffix(strings.Repeat(`{"src":"https://a.example/i"},`, 101), ",")+`]`), "icons has more than 100 elements."},
		"a repository without a host":  {with("repository", `{"url":"ssh:a","source":"git"}`), "repository.url is no https address."},
		"a repository without address": {with("repository", `{"source":"git"}`), "repository.url is missing."},
		"a repository as text":         {with("repository", `"https://a.example"`), "repository is no object."},

		"a remote with a password":       {remote("https://u:p@a.example/mcp"), "remotes[0].url carries a user name or a password."},
		"a remote with a templated host": {remote("http://{host}/mcp"), "remotes[0].url is an http address, which is for one's own machine only."},
		"a remote with a broken part":    {remote("https://a.example/{x"), "remotes[0].url is no address."},
		"a remote of a file":             {remote("file:///tmp/x"), "remotes[0].url is no https address."},
		"a remote that is a command":     {with("remotes", `[{"type":"stdio"}]`), "remotes[0].type is none of streamable-http, sse."},
		"a remote without a kind":        {with("remotes", `[{"url":"https://a.example"}]`), "remotes[0].type is missing."},
		"nothing as a remote":            {with("remotes", `[null]`), "remotes[0] is missing."},
		"a header with a secret":         {header(`{"name":"X-Key","value":"s3cr3t","isSecret":true}`), "remotes[0].headers[0] holds a secret itself, which does not belong into a manifest."},
		"a default that is a secret":     {header(`{"name":"X-Key","default":"s3cr3t","isSecret":true}`), "remotes[0].headers[0] holds a secret itself, which does not belong into a manifest."},
		"an authorization":               {header(`{"name":"authorization","value":"Bearer abc"}`), "remotes[0].headers[0] holds a secret itself, which does not belong into a manifest."},
		"a header without a name":        {header(`{"value":"a"}`), "remotes[0].headers[0].name is missing."},
		"a required that is a text":      {header(`{"name":"a","isRequired":"yes"}`), "remotes[0].headers[0].isRequired is neither true nor false."},
		"a variable with a strange name": {header(`{"name":"a","variables":{"\u202e":{}}}`), "remotes[0].headers[0].variables has a member whose name cannot be used."},

		"a package without transport":     {with("packages", `[{"registryType":"npm","identifier":"a"}]`), "packages[0].transport is missing."},
		"a package to download by script": {with("packages", `[{"registryType":"mcpb","identifier":"javascript:a","transport":{"type":"stdio"}}]`), "packages[0].identifier is no https address."},
		"a package with a broken hash":    {pack(`,"fileSha256":"abc"`), "packages[0].fileSha256 is no SHA-256 in hexadecimal digits."},
		"a package of the latest version": {pack(`,"version":"latest"`), "packages[0].version is no version like 1.0.2."},
		"an argument without a value":     {pack(`,"packageArguments":[{"type":"positional"}]`), "packages[0].packageArguments[0].valueHint is missing."},
		"an argument without a name":      {pack(`,"packageArguments":[{"type":"named"}]`), "packages[0].packageArguments[0].name is missing."},

		"a text":            {`["server"]`, "The entry is no JSON object."},
		"a large entry":     {with("description", `"`+strings.Repeat("a", MaxManifestBytes)+`"`), "The entry is larger than 256 KiB."},
		"members by others": {`{"Name":"com.acme/a","description":"A","version":"1"}`, "name is missing."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := readOne(t, c.text)
			if len(e.Problems) == 0 || e.Problems[0] != c.want {
				t.Errorf("%q\nwant %q", e.Problems, c.want)
			}
			if e.Remotes != nil || e.WebsiteURL != "" || e.Icons != nil {
				t.Errorf("something of it is kept: %+v", e.Manifest)
			}
		})
	}
}

func TestUnreadableImports(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		data string
		kind problem.Kind
		code string
	}{
		"nothing":               {"", problem.Invalid, "manifest_unreadable"},
		"a page":                {"<html>", problem.Invalid, "manifest_unreadable"},
		"a number":              {"7", problem.Invalid, "manifest_unreadable"},
		"servers that are none": {`{"servers":7}`, problem.Invalid, "manifest_unreadable"},
		"duplicate members":     {`{"name":"a/b","name":"c/d"}`, problem.Invalid, "manifest_unreadable"},
		"half a character":      {`{"name":"\ud800"}`, problem.Invalid, "manifest_unreadable"},
		"too deep":              {strings.Repeat("[", 50) + strings.Repeat("]", 50), problem.Invalid, "manifest_unreadable"},
		"too large":             {"[" + strings.Repeat(" ", MaxListingBytes) + "]", problem.TooLarge, "manifest_too_large"},
		"too many":              {"[" + strings.Repeat("1,", maxEntries) + "1]", problem.TooLarge, "manifest_too_large"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := ReadManifests([]byte(c.data))
			wantProblem(t, err, c.kind, c.code)
		})
	}
}

func TestOneBadEntryLeavesTheOthers(t *testing.T) {
	t.Parallel()
	record := func(name, version, description string, latest bool) string {
		return fmt.Sprintf(`{"server":{"name":%q,"version":%q,"description":%q},"_meta":{"io.modelcontextprotocol.registry/official":{"status":"active","isLatest":%t}}}`,
			name, version, description, latest)
	}
	entries, err := ReadManifests([]byte(`{"servers":[` + strings.Join([]string{
		record("com.acme/a", "1.0.0", "A", false), record("com.acme/a", "2.0.0", "A", true), record("com.acme/a", "1.5.0", "A", false),
		record("com.acme/b", "1.0.0", "\u202e", true), with("name", `"com.acme/C"`), with("name", `"com.acme/c"`),
	}, ",") + `],"metadata":{"count":6}}`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, fmt.Sprint(e.Name, " ", e.Version, " ", e.Status, " ", e.Latest, " ", len(e.Problems)))
	}
	want := []string{
		"com.acme/a 1.0.0 active false 0", "com.acme/a 2.0.0 active true 0", "com.acme/a 1.5.0 active false 0",
		"com.acme/b 1.0.0 active true 1", "com.acme/C 1  false 0", "com.acme/c 1  true 0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{
		"1": true, "1.0.2": true, "v2.1.0-alpha.x": true, "2025.11.25": true, "1.0.0+20130313144700": true, "0.6.2-rc.1": true, strings.Repeat("1", 255): true,
		"": false, "latest": false, "Latest": false, "^1.2": false, "~1.2": false, ">=1": false, "1.x": false, "1.*": false, "*": false, "1.2.X": false,
		"1 2": false, "1/2": false, "..": false, "1\u200b": false, strings.Repeat("1", 256): false,
	} {
		if got := ValidVersion(version); got != want {
			t.Errorf("ValidVersion(%.20q) = %v", version, got)
		}
	}
}

// texts finds the strings of fullManifest that are values.
var texts = regexp.MustCompile(`([:\[,] ?)"((?:[^"\\]|\\.)*)"([,}\] \n])`)

// withText is fullManifest with the text at a place replaced.
func withText(place uint8, text string) []byte {
	quoted, err := json.Marshal(text)
	if err != nil {
		return nil
	}
	found := texts.FindAllStringSubmatchIndex(fullManifest, -1)
	at := found[int(place)%len(found)]
	return []byte(fullManifest[:at[3]] + string(quoted) + fullManifest[at[6]:])
}

// FuzzReadManifests holds the reader to this: it never panics, says something about what it refuses, and what it
// accepts is a server.json again, and reads as the same. It is given bytes, and a good server.json with one text of
// somebody else's in it.
func FuzzReadManifests(f *testing.F) {
	f.Add([]byte(fullManifest), uint8(1), "com.acme/other")
	f.Add([]byte(`{"servers":[{"server":`+fullManifest+`,"_meta":{}}],"metadata":{}}`), uint8(5), "https://a.example:1/?#[]%zz")
	f.Add([]byte(`[`+with("title", `"\u202e"`)+`,`+with("websiteUrl", `"http://127.0.0.1:1/a b"`)+`,null,[],{}]`), uint8(10), "data:,")
	f.Add([]byte(with("remotes", `[{"type":"sse","url":"https://{a}{b}.example/%zz","variables":{"a":{},"":{}}}]`)), uint8(20), "http://localhost:{port}/mcp")
	f.Add([]byte(with("packages", `[{"registryType":"mcpb","identifier":"https://a.example/[","transport":{"type":"sse","url":"http://[::1]:{p}"}}]`)), uint8(30), "named")
	f.Fuzz(func(t *testing.T, data []byte, place uint8, text string) {
		for _, input := range [][]byte{data, withText(place, text)} {
			entries, err := ReadManifests(input)
			if err != nil {
				continue
			}
			for _, e := range entries {
				holdEntry(t, e)
			}
		}
	})
}

func holdEntry(t *testing.T, e Entry) {
	t.Helper()
	for _, p := range e.Problems {
		if len(findUnseen(p, false)) > 0 || len(p) > 2000 {
			t.Errorf("the problem %q repeats what is hidden", p)
		}
	}
	if len(e.Problems) > 0 {
		return
	}
	wantValid(t, e.Manifest)
	raw, err := json.Marshal(e.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	if again := readOne(t, string(raw)); cmp.Diff(e.Manifest, again.Manifest) != "" {
		t.Errorf("%s is read again as %+v", raw, again)
	}
}
