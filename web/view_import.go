package web

// Import is the form that takes a listing.
type Import struct {
	Text   string // what was pasted, or was in the file
	Errors Errors
}

// ImportPreview is what would become of a listing, and the form that proposes what is ticked of it.
type ImportPreview struct {
	Text    string
	Entries []ImportEntry
	Teams   []Option // that the reader may let own servers
	Most    int      // how many may be ticked at once
	Errors  Errors
}

// importable is how many of the entries can be imported, and ticked how many are.
func (v ImportPreview) importable() (importable, ticked int) {
	for _, e := range v.Entries {
		if len(e.Problems) == 0 {
			importable++
		}
		if e.Ticked {
			ticked++
		}
	}
	return importable, ticked
}

// ImportEntry is one server of a listing.
type ImportEntry struct {
	Value                               string // stands for it in the form
	Name, Title, Description, Published string
	State                               string // proposed, updated, unchanged or refused
	Where                               string // the address of a new server, or ""
	Notes                               []string
	Problems                            []string
	Ticked                              bool
	Error                               string // why the import that was just tried stopped at it
}
