package web

// NewGuardrail is the form of a guardrail, and what it would hold for.
type NewGuardrail struct {
	Name   string
	Errors Errors
}
