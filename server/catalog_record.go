package server

import (
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"countersign/delivery"
	"countersign/policy"
	"countersign/registry"
)

// serverSchema is the form of what the catalogue serves. Clients refuse forms that they do not know, so it is always
// the current one, whatever a manifest was written in.
const serverSchema = "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"

// catalogListing is the answer to a list.
type catalogListing struct {
	Servers  []catalogRecord `json:"servers"`
	Metadata struct {
		NextCursor string `json:"nextCursor,omitempty"`
		Count      int    `json:"count"`
	} `json:"metadata"`
}

// catalogRecord is one version of a server.
type catalogRecord struct {
	Server catalogServer `json:"server"`
	Meta   catalogMeta   `json:"_meta"`
}

// catalogServer is a server.json.
type catalogServer struct {
	Schema      string               `json:"$schema"`
	Name        string               `json:"name"`
	Title       string               `json:"title,omitempty"`
	Description string               `json:"description"`
	Version     string               `json:"version"`
	WebsiteURL  string               `json:"websiteUrl,omitempty"`
	Repository  *registry.Repository `json:"repository,omitempty"`
	Icons       []registry.Icon      `json:"icons,omitempty"`
	Remotes     []registry.Remote    `json:"remotes,omitempty"`
}

// catalogMeta is what a registry adds to a server.json.
type catalogMeta struct {
	Official catalogOfficial `json:"io.modelcontextprotocol.registry/official"`
	Ours     *catalogOurs    `json:"io.countersign/registry,omitempty"`
}

type catalogOfficial struct {
	Status          string    `json:"status"`
	StatusChangedAt time.Time `json:"statusChangedAt"`
	StatusMessage   string    `json:"statusMessage,omitempty"`
	PublishedAt     time.Time `json:"publishedAt"`
	UpdatedAt       time.Time `json:"updatedAt"`
	IsLatest        bool      `json:"isLatest"`
}

// catalogOurs is for readers with a credential only.
type catalogOurs struct {
	ID    string         `json:"id"`
	State registry.State `json:"state"`
	Team  string         `json:"team"`
}

func (v catalogView) record(p registry.Published, gateways []delivery.Gateway) catalogRecord {
	record := catalogRecord{Server: catalogServer{
		Schema: serverSchema, Name: p.Name, Title: cut(p.Title, 100), Description: summary(p), Version: p.Version,
	}}
	record.Server.dress(p)
	official := catalogOfficial{
		StatusChangedAt: p.ChangedAt.UTC(), PublishedAt: p.PublishedAt.UTC(), UpdatedAt: p.UpdatedAt.UTC(), IsLatest: p.Latest,
	}
	switch p.State {
	case registry.Suspended:
		official.Status, official.StatusMessage = "deprecated", "Suspended: gateways deny every call to it."
	case registry.Retired:
		official.Status = "deleted"
	case registry.Active, registry.Proposed:
		official.Status = "active"
	}
	if address := gatewayAddress(gateways, p.Name); address != "" && p.State != registry.Retired {
		record.Server.Remotes = []registry.Remote{{Type: "streamable-http", URL: address}}
	}
	record.Meta.Official = official
	if v.owners {
		record.Meta.Ours = &catalogOurs{ID: p.ServerID, State: p.State, Team: p.TeamName}
	}
	return record
}

// gatewayAddress is where agents reach a server: at the first gateway that may see it, or "".
func gatewayAddress(gateways []delivery.Gateway, name string) string {
	for _, g := range gateways {
		audience := policy.Resource{Servers: g.Servers}
		if g.Kind == delivery.Proxy && g.Resource != "" && audience.ReachesServer(name, nil) {
			return strings.TrimSuffix(g.Resource, "/") + "/mcp/" + name
		}
	}
	return ""
}

// dress adds the links of the manifest, but for those that tell the host of the server itself.
func (s *catalogServer) dress(p registry.Published) {
	upstream := []string{hostOf(p.URL)}
	for _, remote := range p.Manifest.Remotes {
		upstream = append(upstream, hostOf(remote.URL))
	}
	tells := func(link string) bool {
		host := hostOf(link)
		return host == "" || slices.Contains(upstream, host)
	}
	if !tells(p.Manifest.WebsiteURL) {
		s.WebsiteURL = p.Manifest.WebsiteURL
	}
	if r := p.Manifest.Repository; r != nil && !tells(r.URL) {
		s.Repository = r
	}
	s.Icons = slices.DeleteFunc(slices.Clone(p.Manifest.Icons), func(i registry.Icon) bool { return tells(i.Src) })
}

func hostOf(link string) string {
	u, err := url.Parse(link)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}

// summary is a description of 1 to 100 characters, as a server.json has it.
func summary(p registry.Published) string {
	for _, text := range []string{p.Description, p.Title, p.Name} {
		if text = cut(text, 100); text != "" {
			return text
		}
	}
	return p.Version
}

// cut makes one line of a text, at most so long, and ends it after a word when it has to.
func cut(text string, most int) string {
	text = strings.Join(strings.Fields(text), " ")
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	head := string([]rune(text)[:most-1])
	if space := strings.LastIndexByte(head, ' '); space > len(head)/2 {
		head = head[:space]
	}
	return strings.TrimRightFunc(head, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.Is(unicode.So, r) && r != ')'
	}) + "…"
}
