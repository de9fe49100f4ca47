package server

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/registry"
)

// importLimit leaves room for what surrounds the largest listing.
const importLimit = registry.MaxListingBytes + 64<<10

// importRequest is the body of POST /v1/imports. It may be sent again: what is here already stays as it is.
type importRequest struct {
	Team    string          `json:"team"`    // name or id of the team that is to own what is new
	Servers json.RawMessage `json:"servers"` // a server.json, a list of them, or what a registry answers
	Preview bool            `json:"preview"` // only say what would become of them
}

type importAnswer struct {
	Servers []importedServer `json:"servers"`
}

// importedServer is what became, or would become, of an entry.
type importedServer struct {
	Name     string   `json:"name"`
	Version  string   `json:"version"`
	Outcome  string   `json:"outcome"` // proposed, updated, unchanged, or refused in a preview
	ID       string   `json:"id,omitempty"`
	Problems []string `json:"problems,omitempty"`
}

func (s *Server) postImport(c echo.Context, who identity.Principal, in importRequest) (*importAnswer, int, error) {
	entries, err := registry.ReadManifests(in.Servers)
	if err != nil {
		return nil, 0, err
	}
	team, err := s.teamCalled(c, who, in.Team)
	if err != nil && (in.Team != "" || !in.Preview) {
		return nil, 0, err
	}
	if in.Preview {
		answer, err := s.previewImport(c, who, entries)
		return answer, http.StatusOK, err
	}
	chosen, err := chosenManifests(entries)
	if err != nil {
		return nil, 0, err
	}
	proposals, err := s.registry.Propose(c.Request().Context(), who, chosen, team)
	if err != nil {
		return nil, 0, err
	}
	answer, status := &importAnswer{Servers: []importedServer{}}, http.StatusOK
	for _, p := range proposals {
		if p.Outcome == registry.NewServer {
			status = http.StatusCreated
		}
		answer.Servers = append(answer.Servers, importedServer{Name: p.Name, Version: p.Published, Outcome: string(p.Outcome), ID: p.ID})
	}
	return answer, status, nil
}

func (s *Server) previewImport(c echo.Context, who identity.Principal, entries []registry.Entry) (*importAnswer, error) {
	if err := s.registry.Recognise(c.Request().Context(), who, entries); err != nil {
		return nil, err
	}
	answer := &importAnswer{Servers: []importedServer{}}
	for _, e := range entries {
		seen := importedServer{Name: e.Name, Version: e.Version, Outcome: string(registry.NewServer), ID: e.Known, Problems: e.Problems}
		switch {
		case len(e.Problems) > 0:
			seen.Outcome = "refused"
		case e.KnownVersion:
			seen.Outcome = string(registry.Unchanged)
		case e.Known != "":
			seen.Outcome = string(registry.NewVersion)
		}
		answer.Servers = append(answer.Servers, seen)
	}
	return answer, nil
}

// chosenManifests are all of the entries, or none when one of them cannot be imported.
func chosenManifests(entries []registry.Entry) ([]registry.Manifest, error) {
	invalid := problem.New(problem.Invalid, "invalid_import", "Nothing was imported.")
	chosen := make([]registry.Manifest, 0, len(entries))
	for _, e := range entries {
		if len(e.Problems) > 0 {
			name := e.Name
			if name == "" {
				name = "servers"
			}
			invalid.Field(name, e.Problems[0])
		}
		chosen = append(chosen, e.Manifest)
	}
	if len(invalid.Fields) > 0 {
		return nil, invalid
	}
	return chosen, nil
}

// teamCalled is the id of a team that was named, or whose id was given.
func (s *Server) teamCalled(c echo.Context, who identity.Principal, name string) (string, error) {
	teams, err := s.registry.Teams(c.Request().Context(), who)
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(teams, func(t registry.Team) bool { return t.ID == name || t.Name == name })
	if i < 0 {
		return "", problem.New(problem.Invalid, "invalid_import", "Nothing was imported.").Field("team", "There is no such team.")
	}
	return teams[i].ID, nil
}
