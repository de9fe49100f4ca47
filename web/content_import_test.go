package web

func importPreview() ImportPreview {
	return ImportPreview{
		Text: `{"servers": []}`, Teams: []Option{{"t1", "Commerce", true}, {"t2", "Payments", false}}, Most: 500,
		Entries: []ImportEntry{
			{Value: "0", Name: "com.acme/orders", Title: "Orders", Description: "Looks up and cancels orders of the shop.", Published: "1.4.0", State: "proposed", Where: "https://orders.acme.example/mcp", Ticked: true},
			{Value: "1", Name: "com.acme/labels", Description: "Prints labels.", Published: "0.9.1", State: "proposed", Notes: []string{"It has no address that a gateway can use as it is. Give it one on its page.", "The registry calls it deprecated."}, Ticked: true},
			{Value: "2", Name: "com.acme/payments", Title: "Payments", Description: "Takes and refunds payments.", Published: "2.0.0", State: "updated", Ticked: true},
			{Value: "3", Name: "com.acme/search", Description: "Searches the catalogue.", Published: "3.1.0", State: "unchanged"},
			{Value: "4", Name: "com.acme/Mail\u202e", Published: "1.0.0", State: "refused", Problems: []string{"name holds a character that is not visible.", "icons[0].src is no link to https."}},
			{Value: "5", State: "refused", Problems: []string{"The entry is no JSON object."}},
		},
	}
}
