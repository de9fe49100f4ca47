package auth

import (
	"context"
	"encoding/json"
)

// What tests of the package look at.
var (
	SafePath       = safePath
	IsClientSecret = isClientSecret
	NewSecretOf    = newClientSecret
	PurgeSignIns   = (*Authority).purgeSignIns
)

// Advance moves signing keys on, as Run does.
func Advance(a *Authority, ctx context.Context) error { return a.keys.advance(ctx) } //nolint:revive // it stands for a method

// ClassOf reads a claim acr.
func ClassOf(raw string) string { return member{"acr": json.RawMessage(raw)}.class("acr") }
