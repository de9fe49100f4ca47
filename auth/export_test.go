package auth

// What tests of the package look at.
var (
	SafePath       = safePath
	IsClientSecret = isClientSecret
	NewSecretOf    = newClientSecret
	PurgeSignIns   = (*Authority).purgeSignIns
)
