package notify

import "slices"

// Topic is something that a channel may ask to be told.
type Topic struct {
	Name  string // the kind of the audit event
	Label string // for a form, and for the subject of a message
	Means string
}

// Topics that are told or treated in a way of their own.
const (
	topicRequested = "approval.requested"
	topicEscalated = "approval.escalated"
	topicEmergency = "approval.emergency"
	topicAlert     = "alert.fired"
	// TopicAlive is told to a channel again and again, so that its silence is noticed outside.
	TopicAlive = "notifier.alive"
)

// Types of messages that are no topic.
const (
	typeDigest = "notices.digest"
	typeTest   = "channel.test"
)

var topics = []Topic{
	{topicRequested, "Approval needed", "A call waits for a decision."},
	{topicEscalated, "Approval escalated", "Nobody decided in time: the fallback is asked as well."},
	{"approval.approved", "Approved", "A call was approved and may run once."},
	{"approval.denied", "Denied", "A call was denied."},
	{"approval.expired", "Expired", "Nobody decided before the time was up."},
	{"approval.superseded", "Superseded", "The policy or the tool changed while a call waited."},
	{"approval.revoked", "Revoked", "An approval was taken back before it was used."},
	{topicEmergency, "Emergency approval", "One person approved alone. Every channel is told, whatever it asks for."},
	{"confirmation.indeterminate", "Outcome unknown", "An approved call ran, and nobody knows how it ended."},
	{"review.overdue", "Review overdue", "An emergency approval still waits to be looked at."},
	{topicAlert, "Alert", "A rule fired: more calls, errors or cost than it allows, or something is silent."},
	{"alert.closed", "Alert over", "What an alert was about did not happen again."},
	{TopicAlive, "Heartbeat", "A small message every hour, so that you notice when none comes."},
}

// Topics lists what a channel may ask for.
func Topics() []Topic { return slices.Clone(topics) }

func topicNamed(name string) (Topic, bool) {
	i := slices.IndexFunc(topics, func(t Topic) bool { return t.Name == name })
	if i < 0 {
		return Topic{Name: name, Label: name}, false
	}
	return topics[i], true
}

// chosen is the known topics among names, in the order of the table; ok says that all are known and there is one.
func chosen(names []string) (list []string, ok bool) {
	for _, t := range topics {
		if slices.Contains(names, t.Name) {
			list = append(list, t.Name)
		}
	}
	unknown := func(name string) bool { _, known := topicNamed(name); return !known }
	return list, len(list) > 0 && !slices.ContainsFunc(names, unknown)
}
