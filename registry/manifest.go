package registry

import (
	"encoding/json"
	"slices"
	"strings"

	"countersign/canonical"
	"countersign/internal/problem"
)

// Limits of what is imported at once.
const (
	MaxListingBytes  = 5 << 20
	MaxManifestBytes = 256 << 10
	maxEntries       = 2000
	maxManifestDepth = 40
)

// Manifest is what we keep of a server.json (2025-12-11). Every string in it was checked: it shows what it holds, and
// a link leads to https, or to http on one's own machine. Members that we do not know, and _meta, are not kept.
// Encoded as JSON it is a valid server.json again.
type Manifest struct {
	Name        string      `json:"name"`
	Title       string      `json:"title,omitempty"`
	Description string      `json:"description"`
	Version     string      `json:"version"`
	WebsiteURL  string      `json:"websiteUrl,omitempty"`
	Repository  *Repository `json:"repository,omitempty"`
	Icons       []Icon      `json:"icons,omitempty"`
	Packages    []Package   `json:"packages,omitempty"`
	Remotes     []Remote    `json:"remotes,omitempty"`
}

// Repository is where a server's source code is.
type Repository struct {
	URL       string `json:"url"`
	Source    string `json:"source"`
	ID        string `json:"id,omitempty"`
	Subfolder string `json:"subfolder,omitempty"`
}

// Icon is a picture of a server. Nothing here loads it.
type Icon struct {
	Src      string   `json:"src"`
	MimeType string   `json:"mimeType,omitempty"`
	Sizes    []string `json:"sizes,omitempty"`
	Theme    string   `json:"theme,omitempty"`
}

// Package is a way to run a server on one's own machine.
type Package struct {
	RegistryType         string       `json:"registryType"`
	RegistryBaseURL      string       `json:"registryBaseUrl,omitempty"`
	Identifier           string       `json:"identifier"`
	Version              string       `json:"version,omitempty"`
	FileSHA256           string       `json:"fileSha256,omitempty"`
	RuntimeHint          string       `json:"runtimeHint,omitempty"`
	Transport            Remote       `json:"transport"`
	RuntimeArguments     []Argument   `json:"runtimeArguments,omitempty"`
	PackageArguments     []Argument   `json:"packageArguments,omitempty"`
	EnvironmentVariables []NamedInput `json:"environmentVariables,omitempty"`
}

// Remote is where a server listens, or how a package is spoken to. Its URL may hold {variables}.
type Remote struct {
	Type      string           `json:"type"`
	URL       string           `json:"url,omitempty"`
	Headers   []NamedInput     `json:"headers,omitempty"`
	Variables map[string]Input `json:"variables,omitempty"`
}

// Input is a value that somebody fills in. The value of a secret one is never kept.
type Input struct {
	Description string   `json:"description,omitempty"`
	Required    bool     `json:"isRequired,omitempty"`
	Format      string   `json:"format,omitempty"`
	Value       string   `json:"value,omitempty"`
	Secret      bool     `json:"isSecret,omitempty"`
	Default     string   `json:"default,omitempty"`
	Placeholder string   `json:"placeholder,omitempty"`
	Choices     []string `json:"choices,omitempty"`
}

// NamedInput is a header or a variable of the environment.
type NamedInput struct {
	Name string `json:"name"`
	Input
	Variables map[string]Input `json:"variables,omitempty"`
}

// Argument is a part of a package's command line.
type Argument struct {
	Type      string `json:"type"`
	Name      string `json:"name,omitempty"`
	ValueHint string `json:"valueHint,omitempty"`
	Repeated  bool   `json:"isRepeated,omitempty"`
	Input
	Variables map[string]Input `json:"variables,omitempty"`
}

// Location is the first place of the manifest that gateways can reach as it is: streamable HTTP at an address without
// variables, and without a header that somebody has to fill in.
func (m Manifest) Location() (Location, bool) {
	toFill := func(h NamedInput) bool { return h.Required || h.Secret }
	for _, remote := range m.Remotes {
		l := Location{Transport: StreamableHTTP, URL: remote.URL}
		if remote.Type == remoteStreamable && !strings.ContainsAny(remote.URL, "{}") && !slices.ContainsFunc(remote.Headers, toFill) && len(l.clean()) == 0 {
			return l, true
		}
	}
	return Location{}, false
}

// Entry is one server.json of what somebody wants to import. One with Problems cannot be; the others can.
type Entry struct {
	Manifest
	Problems []string // each a sentence that names the field
	Status   string   // as the listing says: active, deprecated, deleted, or "" when it does not
	Latest   bool     // of the entries with this name

	Known        string // id of the server here that has this name, ignoring case; see Recognise
	KnownVersion bool   // and this version
}

// ReadManifests reads one server.json, a list of them, or what a registry answers. It fails when nothing can be read
// at all; an entry that is not acceptable says so in its Problems, and the others stay.
//
// Problems: TooLarge manifest_too_large; Invalid manifest_unreadable.
func ReadManifests(data []byte) ([]Entry, error) {
	if len(data) > MaxListingBytes {
		return nil, problem.New(problem.TooLarge, "manifest_too_large", "This is larger than %d MiB.", MaxListingBytes>>20)
	}
	if err := canonical.Check(data, canonical.Limits{MaxDepth: maxManifestDepth}); err != nil {
		return nil, problem.New(problem.Invalid, "manifest_unreadable", "This is no acceptable JSON: %v.", err)
	}
	raw, err := entriesOf(data)
	if err != nil {
		return nil, problem.New(problem.Invalid, "manifest_unreadable",
			"This is neither a server.json nor a list of them, nor the answer of a registry.").Because(err)
	}
	if len(raw) > maxEntries {
		return nil, problem.New(problem.TooLarge, "manifest_too_large", "This lists more than %d servers. Import them in parts.", maxEntries)
	}
	entries := make([]Entry, len(raw))
	for i := range raw {
		entries[i] = readEntry(raw[i])
	}
	markLatest(entries)
	return entries, nil
}

// entriesOf finds the entries in the three forms.
func entriesOf(data []byte) ([]json.RawMessage, error) {
	if list, err := canonical.Elements(data); err == nil {
		return list, nil
	}
	members, err := canonical.Members(data)
	if err != nil {
		return nil, err
	}
	if servers, listing := canonical.Lookup(members, "servers"); listing {
		return canonical.Elements(servers)
	}
	return []json.RawMessage{data}, nil
}

// markLatest leaves one latest entry for each name: the one that the listing calls so, else the last.
func markLatest(entries []Entry) {
	latest := map[string]int{}
	for i, e := range entries {
		name := strings.ToLower(e.Name)
		if before, seen := latest[name]; !seen || !entries[before].Latest {
			latest[name] = i
		}
	}
	for i := range entries {
		entries[i].Latest = latest[strings.ToLower(entries[i].Name)] == i
	}
}
