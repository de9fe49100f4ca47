package web

// Teams is the list of teams and the form that makes one.
type Teams struct {
	Teams  []TeamLine
	May    bool
	Name   string
	Groups string
	Errors Errors
}

// TeamLine is one team.
type TeamLine struct {
	ID, Name string
	Groups   []string
	Members  int
	Servers  int
}
