package web

// importStories are the two pages of an import.
func importStories() []story {
	p := page("Import servers", "/servers")
	stopped, many, orphan, nothing := importPreview(), importPreview(), importPreview(), importPreview()
	stopped.Errors = Errors{"": "Nothing was imported: not everything that you chose can be.", "com.acme/orders": "x"}
	stopped.Entries[0].Error = "Version 1.4.0 is published already with other contents. Give it another version."
	many.Most = 2
	orphan.Teams = nil
	nothing.Entries = nothing.Entries[4:]
	return []story{
		{"import", ImportPage(p, Import{})},
		{"import mistake", ImportPage(p, Import{Text: "{\"servers\": [", Errors: Errors{"text": "This is no acceptable JSON: it ends too early, in line 1."}})},
		{"import-preview", ImportPreviewPage(p, importPreview())},
		{"import preview stopped", ImportPreviewPage(p, stopped)},
		{"import preview many", ImportPreviewPage(p, many)},
		{"import preview no team", ImportPreviewPage(p, orphan)},
		{"import preview nothing", ImportPreviewPage(p, nothing)},
	}
}

func hostileImports(p Page) []story {
	form, preview := spoiled(Import{Text: "x"}), spoiled(importPreview())
	form.Errors = Errors{"text": hostile("text"), "file": hostile("file")}
	preview.Errors = Errors{"": hostile(""), "team": hostile("team"), "servers": hostile("servers")}
	return []story{{"import", ImportPage(p, form)}, {"import-preview", ImportPreviewPage(p, preview)}}
}
