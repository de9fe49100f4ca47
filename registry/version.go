package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// FirstVersion is what a server that says nothing else is published as.
const FirstVersion = "1.0.0"

var versionForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+~-]{0,254}$`)

// ValidVersion says whether s names one version: no range like ^1.2 or 1.x, and not the word latest.
func ValidVersion(s string) bool {
	if !versionForm.MatchString(s) || strings.EqualFold(s, "latest") {
		return false
	}
	core, _, _ := strings.Cut(s, "-")
	return !slices.ContainsFunc(strings.Split(core, "."), func(part string) bool { return strings.EqualFold(part, "x") })
}

// publishTx adds a version of the server, unless it is there. fresh is whether it was new.
func publishTx(ctx context.Context, tx pgx.Tx, serverID, version string, manifest *Manifest) (fresh bool, err error) {
	kept := []byte("{}")
	if manifest != nil {
		if kept, err = json.Marshal(manifest); err != nil {
			return false, fmt.Errorf("encoding the manifest: %w", err)
		}
	}
	tag, err := tx.Exec(ctx, `
		insert into server_versions (server_id, version, manifest)
		values (@server, @version, @manifest)
		on conflict on constraint server_versions_version do nothing`,
		pgx.StrictNamedArgs{"server": serverID, "version": version, "manifest": kept})
	if err != nil {
		return false, fmt.Errorf("publishing a version: %w", err)
	}
	return tag.RowsAffected() == 1, nil
}

// publishServedTx publishes the version that the server itself says it has. What is no version is left alone.
func publishServedTx(ctx context.Context, tx pgx.Tx, serverID string, info ServerInfo) error {
	if !ValidVersion(info.Version) {
		return nil
	}
	_, err := publishTx(ctx, tx, serverID, info.Version, nil)
	return err
}
