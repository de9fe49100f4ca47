// Package cleanse makes text of servers safe for whoever reads it next: a model, a person, a terminal, a page.
//
//	message ─▶ each string ─▶ ┌───────────────────────────────────────────────────────┐
//	            by its place  │ 1 control and hidden characters, terminal escapes go  │
//	                          │ 2 what a page or Markdown would load or run is inert  │──▶ the same bytes, if nothing
//	                          │ 3 secrets go, also encoded ones                       │    changed; else a safe text
//	                          └──────────▲───────────────────────────────┬────────────┘
//	                                     └── until nothing changes ──────┘
//
// What it promises of Text:
//
//   - It is a fixed point: filtering what was filtered changes nothing. A text that does not come to rest within a few
//     rounds is withheld.
//   - Its result is UTF-8 without control characters but tab and line ends, and without characters that nobody sees or
//     that reorder others. Joiners and variation selectors stay where a script or an emoji needs them.
//   - Clean text comes back as it is, and fast: a text of ASCII is read twice and nothing is allocated.
//   - Time is linear in the text, whatever it says: each step that looks ahead has a budget, and is blunt beyond it.
//
// And of Message: numbers keep their digits, no key changes (a key that would have to makes the message unusable), and
// what only the server itself reads back (cursors, tokens, ids of tasks) passes byte for byte.
//
// Markdown and HTML in code fences and code spans stay as they are, as nobody renders them. Where readers of Markdown
// may disagree whether something is code, it is not.
package cleanse
