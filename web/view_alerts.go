package web

import "time"

// Alerts is what is open, and below it what was.
type Alerts struct {
	Open      []AlertLine
	Closed    []AlertLine
	Rule      string // only of this one
	Next      string // address of older closed ones
	First     string
	MayHandle bool
	Told      AlertChannels
	Errors    Errors
}

// AlertLine is one alert.
type AlertLine struct {
	ID, Rule, RuleLink, Kind, Summary, State string
	About, AboutLink                         string
	Urgent                                   bool
	Times                                    int64
	FiredAt, LastAt                          time.Time
	Calls                                    string // address of the calls that caused it; "" for none
	TakenBy                                  string // who acknowledged it
	TakenAt                                  *time.Time
	ClosedBy                                 string // "": by itself
	ClosedAt                                 *time.Time
}

// AlertChannels are where people are told of alerts.
type AlertChannels struct {
	Known    bool // the reader may see channels
	Channels []ListeningChannel
	MayTest  bool
	MayMake  bool
}

// ListeningChannel is a channel that is told of alerts.
type ListeningChannel struct {
	ID, Name, Kind, State string
}

// Nobody says that no channel is told of alerts.
func (c AlertChannels) Nobody() bool { return c.Known && len(c.Channels) == 0 }

// AlertRules is what alerts are made of.
type AlertRules struct {
	Rules []AlertRuleLine
	Told  AlertChannels
	May   bool
	Ideas []AlertIdea

	Errors Errors
}

// AlertRuleLine is one rule.
type AlertRuleLine struct {
	ID, Name, Kind, Means, By string
	Urgent, Off, BuiltIn      bool
	Open                      int
	Alerts                    string // address of its open ones
	FiredAt                   *time.Time
	Version                   int64
}

// AlertIdea is a rule that is not there yet and that others found useful.
type AlertIdea struct {
	Name, Means, Address string
}

// AlertRuleForm makes or changes a rule. Without a kind it asks for one.
type AlertRuleForm struct {
	ID, Name  string
	Version   int64 // 0: it is made
	Kind      string
	KindLabel string
	KindMeans string
	Kinds     []RoleOption // to choose from
	Fields    []AlertField
	Urgent    bool
	ReadsBack string // what the rule means as it stands in the form
	Told      AlertChannels
	BuiltIn   bool
	Errors    Errors
}

// AlertField is one field of a kind of rule.
type AlertField struct {
	Name, Label, Value, Hint string
	Options                  []Option // a choice
	Number, Optional         bool
	Min, Max                 string
}

// Prices is what models cost.
type Prices struct {
	Prices   []PriceLine
	Unpriced []UnpricedModel
	May      bool
	New      PriceForm
}

// PriceLine is the price of the models that a pattern names.
type PriceLine struct {
	PriceForm

	By        string
	ChangedAt time.Time
}

// PriceForm makes or changes a price.
type PriceForm struct {
	ID, Model, Currency, Input, Output string

	From    string // the first day, as 2026-11-22; "": always
	Version int64
	Errors  Errors
}

// UnpricedModel is a model that called and that no price is for.
type UnpricedModel struct {
	Name, Address string
}
