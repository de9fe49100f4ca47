package web

// Report is how approving goes.
type Report struct {
	Days      int
	Windows   []Option // Value is an address
	Facts     []Fact
	Daily     []Day // Allowed: approved; Denied: denied; Held: expired
	Approvers []ApproverLine
}

// ApproverLine is one person's votes.
type ApproverLine struct {
	Name, Rate, Think string
	Decisions         int
	Fatigued          bool
}
