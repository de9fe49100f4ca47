package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
)

// Outcome is what became of an entry of an import.
type Outcome string

// The outcomes.
const (
	NewServer  Outcome = "proposed"  // there is a new server, waiting for an owner to look at it
	NewVersion Outcome = "updated"   // a server that was here has a new version, or the manifest of one
	Unchanged  Outcome = "unchanged" // all of it was here
)

// Proposal is a server that an import made or met.
type Proposal struct {
	Server
	Outcome   Outcome
	Published string // the version of the entry
}

// MaxProposed is how many servers one import proposes at most.
const MaxProposed = 500

// Recognise says which entries are here already, and adds to their Problems what stands in the way of them here. It
// needs identity.ReadRegistry, and changes entries in place.
func (r *Registry) Recognise(ctx context.Context, who identity.Principal, entries []Entry) error {
	if err := mayRead(who); err != nil {
		return err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name
	}
	rows, _ := r.pool.Query(ctx, `
		select s.id, s.name, s.state, array(select v.version from server_versions v where v.server_id = s.id) as versions
		from servers s
		where lower(s.name) in (select lower(n) from unnest(@names::text[]) n)`, pgx.StrictNamedArgs{"names": names})
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[knownServer])
	if err != nil {
		return fmt.Errorf("recognising entries: %w", err)
	}
	byName := make(map[string]knownServer, len(found))
	for _, known := range found {
		byName[strings.ToLower(known.Name)] = known
	}
	for i := range entries {
		if known, ok := byName[strings.ToLower(entries[i].Name)]; ok {
			entries[i].recognise(known)
		}
	}
	return nil
}

// knownServer is what is here of an entry's name.
type knownServer struct {
	ID, Name string
	State    State
	Versions []string
}

func (e *Entry) recognise(known knownServer) {
	e.Known, e.KnownVersion = known.ID, slices.Contains(known.Versions, e.Version)
	switch {
	case known.Name != e.Name:
		e.Problems = append(e.Problems, otherwiseSpelt(known.Name).Message)
	case known.State == Retired && !e.KnownVersion:
		e.Problems = append(e.Problems, retired().Message)
	}
}

func otherwiseSpelt(name string) *problem.Error {
	return problem.New(problem.Conflict, "server_exists", "It is registered here as %s. Names are equal ignoring case.", name)
}

// Propose registers the chosen entries of an import, all of them or none: a new name becomes a proposed server of the
// team, at the address of the manifest that gateways can reach as it is, or nowhere yet. Nothing is looked at before a
// person asks for it. A known name only gets a new version. It needs identity.RegisterServer, and the team must be
// one of who's own, unless who is an admin; for a known name it needs identity.ChangeServer for that server's team.
//
// Problems: Invalid invalid_import with a field for each name that is wrong, or team; Conflict import_conflict the
// same way; Forbidden not_your_team.
func (r *Registry) Propose(ctx context.Context, who identity.Principal, chosen []Manifest, teamID string) ([]Proposal, error) {
	if err := who.Can(identity.RegisterServer, ""); err != nil {
		return nil, err
	}
	if err := checkImport(chosen, teamID); err != nil {
		return nil, err
	}
	if err := mayOwn(who, teamID); err != nil {
		return nil, err
	}
	var proposals []Proposal
	err := postgres.InTx(ctx, r.pool, func(tx pgx.Tx) (err error) {
		proposals, err = proposeAllTx(ctx, tx, who, chosen, teamID)
		return err
	})
	switch postgres.Constraint(err) {
	case "servers_name":
		return nil, problem.New(problem.Conflict, "import_conflict", "Somebody registered one of these servers at this moment. Nothing was imported; try again.")
	case "servers_team_id_fkey":
		return nil, notImported().Field("team", "There is no such team.")
	}
	if err != nil {
		return nil, err
	}
	for i := range proposals {
		if proposals[i].Server, err = r.Server(ctx, system, proposals[i].ID); err != nil {
			return nil, err
		}
	}
	return proposals, nil
}

func notImported() *problem.Error {
	return problem.New(problem.Invalid, "invalid_import", "Nothing was imported.")
}

// checkImport reads every manifest again, as it would come from a file: whoever hands it over may have made it.
func checkImport(chosen []Manifest, teamID string) error {
	invalid := notImported()
	if teamID == "" {
		invalid.Field("team", "Choose the team that owns the servers.")
	}
	if len(chosen) == 0 || len(chosen) > MaxProposed {
		invalid.Field("servers", fmt.Sprintf("Choose 1 to %d servers.", MaxProposed))
		return invalid
	}
	seen := map[string]bool{}
	for _, m := range chosen {
		raw, err := json.Marshal(m)
		if err != nil {
			return fmt.Errorf("encoding a manifest: %w", err)
		}
		name := visible(m.Name, 200)
		if e := readEntry(raw); len(e.Problems) > 0 {
			invalid.Field(name, strings.Join(e.Problems, " "))
		} else if folded := strings.ToLower(name); seen[folded] {
			invalid.Field(name, "Choose one version of it; the others can follow.")
		} else {
			seen[folded] = true
		}
	}
	if len(invalid.Fields) > 0 {
		return invalid
	}
	return nil
}

// proposeAllTx finds everything that stands in the way before it gives up.
func proposeAllTx(ctx context.Context, tx pgx.Tx, who identity.Principal, chosen []Manifest, teamID string) ([]Proposal, error) {
	conflict := problem.New(problem.Conflict, "import_conflict", "Nothing was imported: not everything that you chose can be.")
	proposals := make([]Proposal, 0, len(chosen))
	for _, m := range chosen {
		p, err := proposeTx(ctx, tx, who, m, teamID)
		if refused, ok := errors.AsType[*problem.Error](err); ok {
			conflict.Field(m.Name, refused.Message)
			continue
		}
		if err != nil {
			return nil, err
		}
		proposals = append(proposals, p)
	}
	if len(conflict.Fields) > 0 {
		return nil, conflict
	}
	return proposals, nil
}

func proposeTx(ctx context.Context, tx pgx.Tx, who identity.Principal, m Manifest, teamID string) (Proposal, error) {
	p := Proposal{Outcome: NewVersion, Published: m.Version}
	err := tx.QueryRow(ctx, `select id from servers where lower(name) = lower(@name)`, pgx.StrictNamedArgs{"name": m.Name}).Scan(&p.ID)
	if errors.Is(err, pgx.ErrNoRows) {
		p.Outcome = NewServer
		p.ID, err = proposeServerTx(ctx, tx, who, m, teamID)
		return p, err
	}
	if err != nil {
		return p, fmt.Errorf("looking for a server of that name: %w", err)
	}
	fresh, err := proposeVersionTx(ctx, tx, who, p.ID, m)
	if !fresh {
		p.Outcome = Unchanged
	}
	return p, err
}

func proposeServerTx(ctx context.Context, tx pgx.Tx, who identity.Principal, m Manifest, teamID string) (id string, err error) {
	err = tx.QueryRow(ctx, `
		insert into servers (name, title, description, team_id, created_by)
		values (@name, @title, @description, @team, @by)
		returning id`,
		pgx.StrictNamedArgs{"name": m.Name, "title": m.Title, "description": m.Description, "team": teamID, "by": who.ID}).Scan(&id)
	if err != nil {
		return "", fmt.Errorf("inserting server: %w", err)
	}
	location, reachable := m.Location()
	if reachable {
		if _, err := insertEndpointTx(ctx, tx, id, location); err != nil {
			return "", err
		}
	}
	if _, err := publishTx(ctx, tx, id, m.Version, &m); err != nil {
		return "", err
	}
	return id, audit.Append(ctx, tx, audit.Event{
		Kind: "server.proposed", Who: who, TargetKind: "server", TargetID: id, TargetName: m.Name,
		Detail: map[string]any{"team_id": teamID, "version": m.Version, "transport": location.Transport, "url": location.URL},
	})
}

// proposeVersionTx publishes a version of a server that is here. One that is published already stays as it is; it only
// gets a manifest when it has none.
func proposeVersionTx(ctx context.Context, tx pgx.Tx, who identity.Principal, id string, m Manifest) (fresh bool, err error) {
	server, err := lockServerTx(ctx, tx, who, identity.ChangeServer, id)
	switch {
	case err != nil:
		return false, err
	case server.Name != m.Name:
		return false, otherwiseSpelt(server.Name)
	case server.State == Retired:
		return false, retired()
	}
	if fresh, err = publishTx(ctx, tx, id, m.Version, &m); err != nil {
		return false, err
	}
	if !fresh {
		if fresh, err = completeTx(ctx, tx, id, m); err != nil || !fresh {
			return false, err
		}
	}
	return true, audit.Append(ctx, tx, audit.Event{
		Kind: "server.version_published", Who: who, TargetKind: "server", TargetID: id, TargetName: m.Name,
		Detail: map[string]any{"version": m.Version},
	})
}

// completeTx gives a published version that has no manifest this one.
func completeTx(ctx context.Context, tx pgx.Tx, id string, m Manifest) (fresh bool, err error) {
	var kept []byte
	args := pgx.StrictNamedArgs{"server": id, "version": m.Version}
	err = tx.QueryRow(ctx, `select manifest from server_versions where server_id = @server and version = @version`, args).Scan(&kept)
	if err != nil {
		return false, fmt.Errorf("reading a version: %w", err)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return false, fmt.Errorf("encoding the manifest: %w", err)
	}
	if !isEmptyManifest(kept) {
		return false, sameManifest(kept, raw, m.Version)
	}
	args["manifest"] = raw
	_, err = tx.Exec(ctx, `
		update server_versions set manifest = @manifest, updated_at = clock_timestamp()
		where server_id = @server and version = @version`, args)
	if err != nil {
		return false, fmt.Errorf("completing a version: %w", err)
	}
	return true, nil
}

func isEmptyManifest(kept []byte) bool { return string(bytes.TrimSpace(kept)) == "{}" }

// sameManifest refuses other contents under the same version: what was published stays what it was.
func sameManifest(kept, raw []byte, version string) error {
	var before Manifest
	if err := json.Unmarshal(kept, &before); err != nil {
		return fmt.Errorf("decoding a manifest: %w", err)
	}
	again, err := json.Marshal(before)
	if err != nil {
		return fmt.Errorf("encoding a manifest: %w", err)
	}
	if !bytes.Equal(again, raw) {
		return problem.New(problem.Conflict, "version_differs", "Version %s is published already with other contents. Give it another version.", version)
	}
	return nil
}
