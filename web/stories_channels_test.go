package web

import "time"

func channels() Channels {
	return Channels{May: true, Channels: []ChannelLine{
		{ID: "chn_1", Name: "on-call chat", Kind: "Chat", Where: "https://hooks.chat.example/…", Team: "Payments", State: "active", Topics: []string{"Approval needed", "Approval escalated", "Review overdue"}, Digest: "Digest, one minute", DeliveredAt: before(4 * time.Minute), Waiting: 1},
		{ID: "chn_2", Name: "incident platform", Kind: "Webhook", Where: "https://events.acme.example/…", State: "failing", Topics: []string{"Emergency approval", "Outcome unknown", "Heartbeat"}, Digest: "At once", DeliveredAt: before(27 * time.Hour), LastError: "There was no answer within 15 seconds.", Waiting: 12},
		{ID: "chn_3", Name: "finance leads", Kind: "Mail", Where: "mara@acme.example, finance-leads@acme.example", State: "paused", Topics: []string{"Approval needed"}, Digest: "Digest, one hour"},
	}}
}

func channelForm() ChannelForm {
	return ChannelForm{
		Name: "incident platform", Address: "http://events.acme.example/hooks/7",
		Kinds: []RoleOption{
			{Option{"webhook", "Webhook", true}, "A program gets signed JSON. Its secret is shown once."},
			{Option{"slack", "Chat", false}, "An incoming webhook of Slack, or of a chat that understands those."},
			{Option{"email", "Mail", false}, "Plain text to at most ten addresses."},
		},
		Topics: []RoleOption{
			{Option{"approval.requested", "Approval needed", true}, "A call waits for a decision."},
			{Option{"approval.emergency", "Emergency approval", false}, "One person approved alone. Every channel is told, whatever it asks for."},
			{Option{"notifier.alive", "Heartbeat", true}, "A small message every hour, so that you notice when none comes."},
		},
		Teams:   []Option{{"", "Every team", true}, {"t1", "Payments", false}},
		Digests: []Option{{"0", "At once", true}, {"60", "Digest, one minute", false}},
		Errors:  Errors{"address": "It has to be https: on the way everybody could read and change what is told."},
	}
}

func oneChannel() Channel {
	attempts := []AttemptLine{
		{At: noon.Add(-9 * time.Minute), Error: "There was no answer within 15 seconds.", TookMS: 15001},
		{At: noon.Add(-3 * time.Minute), Answered: 503, Error: "The receiver answered 503.", TookMS: 212},
	}
	return Channel{
		ChannelLine: channels().Channels[1], Version: 4, By: "Jonas Weber", CreatedAt: noon.Add(-900 * time.Hour), FailingSince: before(9 * time.Minute),
		OverlapUntil: before(-20 * time.Hour), May: true, Signed: true, Next: "/channels/chn_2?after=msg_7",
		Tested: &ChannelTest{Words: "The test was not delivered. The receiver answered 503.", Answered: 503, TookMS: 212},
		Deliveries: []DeliveryLine{
			{ID: "msg_1", MessageID: "msg_8F2K4M", About: "Test", State: "failed", CreatedAt: noon, Attempts: attempts[1:]},
			{ID: "msg_2", MessageID: "msg_5T7W9Q", About: "Emergency approval", State: "waiting", Link: "/approvals/apr_1", CreatedAt: noon.Add(-9 * time.Minute), DueAt: before(-27 * time.Minute), Attempts: attempts, Again: true},
			{ID: "msg_3", MessageID: "msg_3D6H1N", About: "Outcome unknown", State: "delivered", Link: "/approvals/apr_2", CreatedAt: noon.Add(-27 * time.Hour), Attempts: []AttemptLine{{At: noon.Add(-27 * time.Hour), Answered: 204, TookMS: 88}}, Again: true},
		},
	}
}

func issuedSecret() IssuedSecret {
	return IssuedSecret{ID: "chn_2", Name: "incident platform", Secret: "whsec_b3VyIG1vY2sgc2VjcmV0IGZvciBzY3JlZW5zaG90cyE="}
}

func channelStories() []story {
	p := page("Notifications", "/channels")
	return []story{
		{"channels", ChannelsPage(p, channels())},
		{"channel-form", ChannelFormPage(p, channelForm())},
		{"channel", ChannelPage(p, oneChannel())},
		{"channel-secret", ChannelSecretPage(p, issuedSecret())},
	}
}

func hostileChannels(p Page) []story {
	list, form, one := spoiled(channels()), spoiled(channelForm()), spoiled(oneChannel())
	list.Health = NotifierHealth{BeatAt: noon, Stalled: true, Waiting: 3}
	one.Errors, one.PausedAt, one.PausedBecause = Errors{"": hostile("")}, before(time.Hour), hostile("because")
	form.Errors = Errors{"": hostile(""), "name": hostile("name"), "kind": hostile("kind"), "address": hostile("address"), "topics": hostile("topics"), "team": hostile("team"), "digest": hostile("digest")}
	changed := form
	changed.Version, changed.Shown = 3, hostile("shown")
	return []story{
		{"channels", ChannelsPage(p, list)},
		{"channel-form", ChannelFormPage(p, form)},
		{"channel-change", ChannelFormPage(p, changed)},
		{"channel", ChannelPage(p, one)},
		{"channel-secret", ChannelSecretPage(p, spoiled(issuedSecret()))},
	}
}
