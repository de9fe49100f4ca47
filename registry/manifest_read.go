package registry

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
)

// The kinds of remote.
const (
	remoteStreamable = "streamable-http"
	remoteSSE        = "sse"
	remoteStdio      = "stdio"
)

// Limits within a manifest: texts in characters, and how many of a thing.
const (
	maxLine   = 500
	maxLong   = 2000
	maxURL    = 2000
	maxIcon   = 255
	maxThings = 100
)

var (
	iconSize     = regexp.MustCompile(`^([0-9]{1,5}x[0-9]{1,5}|any)$`)
	fileSHA256   = regexp.MustCompile(`^[a-f0-9]{64}$`)
	iconTypes    = []string{"image/png", "image/jpeg", "image/jpg", "image/svg+xml", "image/webp"}
	inputFormats = []string{"string", "number", "boolean", "filepath"}
)

// readEntry reads a server.json, or a record of a listing that holds one.
func readEntry(raw json.RawMessage) Entry {
	r := &reading{}
	root := r.begin(raw)
	e := Entry{}
	if inner := root.at("server"); inner.is("object") {
		about := root.at("_meta").at("io.modelcontextprotocol.registry/official")
		e.Status, _ = about.at("status").value.(string)
		e.Latest, _ = about.at("isLatest").value.(bool)
		if !slices.Contains([]string{"active", "deprecated", "deleted"}, e.Status) {
			e.Status = ""
		}
		root = node{r: r, value: inner.value}
	}
	e.Manifest = root.manifest()
	e.Problems = r.problems
	if len(e.Problems) > 0 { // shown, and not used
		e.Manifest = Manifest{Name: visible(e.Name, 200), Title: visible(e.Title, 100), Version: visible(e.Version, 100)}
	}
	return e
}

// begin decodes an entry whose form was checked already.
func (r *reading) begin(raw json.RawMessage) node {
	root := node{r: r}
	if len(raw) > MaxManifestBytes {
		r.refuse("", "The entry is larger than %d KiB.", MaxManifestBytes>>10)
		return root
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&root.value); err != nil {
		r.refuse("", "The entry cannot be read.")
	}
	if !root.is("object") {
		r.refuse("", "The entry is no JSON object.")
	}
	return root
}

func (n node) manifest() Manifest {
	m := Manifest{
		Name: n.at("name").serverName(), Version: n.at("version").version(1),
		Title: n.at("title").text(0, 100), Description: n.at("description").text(1, 100),
		WebsiteURL: n.at("websiteUrl").link(maxURL), Repository: n.at("repository").repository(),
	}
	for _, icon := range n.at("icons").list() {
		m.Icons = append(m.Icons, icon.icon())
	}
	for _, p := range n.at("packages").list() {
		m.Packages = append(m.Packages, p.pack())
	}
	for _, remote := range n.at("remotes").list() {
		m.Remotes = append(m.Remotes, remote.remote(remoteStreamable, remoteSSE))
	}
	return m
}

// repository is nil for an empty one, which some registries write for none.
func (n node) repository() *Repository {
	if members, ok := n.value.(map[string]any); n.value == nil || ok && len(members) == 0 {
		return nil
	}
	n.object()
	url := n.at("url")
	url.needed()
	return &Repository{
		URL: url.link(maxURL), Source: n.at("source").line(1, maxLine), ID: n.at("id").line(0, maxLine), Subfolder: n.at("subfolder").line(0, maxLine),
	}
}

func (n node) icon() Icon {
	n.object()
	src := n.at("src")
	src.needed()
	icon := Icon{Src: src.secureLink(maxIcon), MimeType: n.at("mimeType").choice(false, iconTypes...), Theme: n.at("theme").choice(false, "light", "dark")}
	for _, size := range n.at("sizes").list() {
		icon.Sizes = append(icon.Sizes, size.form(true, iconSize, "is no size like 48x48"))
	}
	return icon
}

func (n node) pack() Package {
	n.object()
	p := Package{
		RegistryType: n.at("registryType").line(1, maxLine), RegistryBaseURL: n.at("registryBaseUrl").link(maxURL),
		Version: n.at("version").version(0), FileSHA256: n.at("fileSha256").form(false, fileSHA256, "is no SHA-256 in hexadecimal digits"),
		RuntimeHint: n.at("runtimeHint").line(0, maxLine),
	}
	if identifier := n.at("identifier"); p.RegistryType == "mcpb" {
		identifier.needed()
		p.Identifier = identifier.link(maxURL)
	} else {
		p.Identifier = identifier.line(1, maxLine)
	}
	transport := n.at("transport")
	transport.needed()
	p.Transport = transport.remote(remoteStdio, remoteStreamable, remoteSSE)
	for _, a := range n.at("runtimeArguments").list() {
		p.RuntimeArguments = append(p.RuntimeArguments, a.argument())
	}
	for _, a := range n.at("packageArguments").list() {
		p.PackageArguments = append(p.PackageArguments, a.argument())
	}
	for _, v := range n.at("environmentVariables").list() {
		p.EnvironmentVariables = append(p.EnvironmentVariables, v.named())
	}
	return p
}

func (n node) remote(types ...string) Remote {
	n.object()
	remote := Remote{Type: n.at("type").choice(true, types...)}
	if remote.Type == remoteStdio {
		return remote
	}
	url := n.at("url")
	url.needed()
	remote.URL = url.template(maxURL)
	for _, h := range n.at("headers").list() {
		remote.Headers = append(remote.Headers, h.header())
	}
	remote.Variables = n.at("variables").inputs()
	return remote
}

func (n node) inputs() map[string]Input {
	var inputs map[string]Input
	for _, key := range n.keys() {
		if inputs == nil {
			inputs = map[string]Input{}
		}
		inputs[key] = n.at(key).input()
	}
	return inputs
}

func (n node) input() Input {
	n.object()
	in := Input{
		Description: n.at("description").text(0, maxLong), Required: n.at("isRequired").truth(), Format: n.at("format").choice(false, inputFormats...),
		Value: n.at("value").text(0, maxLong), Secret: n.at("isSecret").truth(), Default: n.at("default").text(0, maxLong),
		Placeholder: n.at("placeholder").text(0, maxLong),
	}
	for _, c := range n.at("choices").list() {
		in.Choices = append(in.Choices, c.text(0, maxLong))
	}
	if in.Secret {
		n.noSecret(in)
	}
	return in
}

func (n node) named() NamedInput {
	return NamedInput{Name: n.at("name").line(1, maxLine), Input: n.input(), Variables: n.at("variables").inputs()}
}

// header is a named input that must not carry a credential, whether or not it says that it is secret.
func (n node) header() NamedInput {
	h := n.named()
	if slices.ContainsFunc(credentialHeaders, func(name string) bool { return canonicalHeader(h.Name) == name }) && !h.Secret {
		n.noSecret(h.Input)
	}
	return h
}

func (n node) argument() Argument {
	a := Argument{
		Type: n.at("type").choice(true, "positional", "named"), Name: n.at("name").line(0, maxLine), ValueHint: n.at("valueHint").line(0, maxLine),
		Repeated: n.at("isRepeated").truth(), Input: n.input(), Variables: n.at("variables").inputs(),
	}
	switch {
	case a.Type == "named":
		n.at("name").needed()
	case a.ValueHint == "" && a.Value == "":
		n.at("valueHint").needed()
	}
	return a
}
