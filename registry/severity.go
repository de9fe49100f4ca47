package registry

var severityOrder = map[Severity]int{"": 0, SeverityLow: 1, SeverityMedium: 2, SeverityHigh: 3, SeverityCritical: 4}

// graver gives the graver of two.
func graver(a, b Severity) Severity {
	if severityOrder[a] < severityOrder[b] {
		return b
	}
	return a
}
