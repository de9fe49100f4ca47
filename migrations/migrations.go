// Package migrations holds the schema of Countersign as SQL files, applied in
// the order of their numbers by `countersign migrate` and embedded in the binary.
//
// Each file is applied in one transaction together with its version number.
// Forward only: a migration must work for the binary before it and the one
// after it (expand, migrate, contract). Down files are for development.
package migrations

import "embed"

// FS is the migrations as golang-migrate names them: NNNNNN_name.up.sql.
//
//go:embed *.sql
var FS embed.FS
