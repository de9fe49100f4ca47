package auth

import "context"

// What tests of the package look at.
var (
	SafePath       = safePath
	IsClientSecret = isClientSecret
	NewSecretOf    = newClientSecret
	PurgeSignIns   = (*Authority).purgeSignIns
)

// Advance moves signing keys on, as Run does.
func Advance(a *Authority, ctx context.Context) error { return a.keys.advance(ctx) } //nolint:revive // it stands for a method
