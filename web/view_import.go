package web

// Import is the page where servers are imported, and what is about to be.
type Import struct {
	Text      string // what was pasted, or was in the file
	Previewed bool
	Entries   []ImportEntry
	Teams     []Option
	Errors    Errors
}

// Importable is how many of the entries can be imported.
func (v Import) Importable() int {
	n := 0
	for _, e := range v.Entries {
		if len(e.Problems) == 0 {
			n++
		}
	}
	return n
}

// ImportEntry is one server of what somebody pasted.
type ImportEntry struct {
	Value                  string // stands for it in the form
	Name, Title, Published string
	State                  string // proposed, updated, unchanged or refused
	Where                  string // the address that gateways would use; "" for nowhere yet
	Notes                  []string
	Problems               []string
	Ticked                 bool
}
