package registry

import (
	"bytes"
	"encoding/base64"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Heuristics guess from the wording that a definition wants something of the model that its owner would not. They order
// a queue and make a change graver; they never block, and who words an attack well passes them. That is why a person
// pins, and why any change is held.

// heuristic is what a guess is about.
type heuristic struct {
	code    string // of the finding
	message string // what the text does, for the owner
}

const (
	overrides = iota
	secrecy
	markup
	toolOrder
	hiddenParameter
	credentials
	exfiltration
	preference
	redirects
	encoded
	offScreen
	shellCode
)

var heuristics = []heuristic{
	overrides:       {"injection_override", "tells a model to set its instructions aside"},
	secrecy:         {"injection_secrecy", "tells a model to keep something from the user"},
	markup:          {"injection_markup", "is marked up as if it came from somebody with authority"},
	toolOrder:       {"injection_tool_order", "wants a say in when or how other tools are used"},
	hiddenParameter: {"injection_parameter", "asks for what is no business of a tool's"},
	credentials:     {"credential_path", "names a place where secrets are kept"},
	exfiltration:    {"exfiltration", "asks to pass on secrets or what was said before"},
	preference:      {"injection_preference", "advertises itself to the model over other tools"},
	redirects:       {"injection_redirect", "wants messages or money to go somewhere else"},
	encoded:         {"encoded_text", "holds text in an encoding that a person does not read"},
	offScreen:       {"text_off_screen", "hides text behind a long stretch of blanks"},
	shellCode:       {"shell_code", "holds commands that fetch and run code, or destroy"},
}

// phrases are what the heuristics listen for. A step is a list of words that stand for one another.
var phrases = newPhrasebook([]phrase{
	say(overrides, 4, "ignore disregard forget override bypass discard", "previous prior above earlier preceding system other existing all any", "instructions instruction prompt prompts rules guidelines directives guardrails policies restrictions"),
	say(overrides, 3, "ignore disregard override bypass", "instructions guidelines guardrails safeguards", "above before previously given"),
	say(overrides, 2, "new updated real true actual", "system", "instructions instruction prompt directive"),
	say(overrides, 2, "you", "are", "now", "in an a no"),
	say(overrides, 3, "from", "now", "on", "you always never every act"),
	say(overrides, 3, "developer debug god admin unrestricted jailbreak", "mode", "enabled activated on"),
	say(overrides, 4, "without", "asking requesting waiting seeking", "user users human permission confirmation approval consent"),
	say(overrides, 3, "supersedes overrides outranks", "all any other system previous", "instructions instruction prompt rules guidelines"),

	say(secrecy, 4, "not dont never without avoid cannot mustnt shouldnt", "tell mention inform notify reveal disclose show alert warn telling mentioning informing notifying revealing disclosing showing alerting warning explain", "user users human anyone anybody person them him her"),
	say(secrecy, 4, "not dont never without avoid", "mention reveal disclose discuss mentioning revealing disclosing", "this these step steps instruction instructions parameter prompt it"),
	say(secrecy, 4, "keep stay do perform execute", "secret silent silently hidden quietly secretly covertly", "user users human this it"),
	say(secrecy, 3, "silently secretly covertly", "send read call include pass forward upload copy add append collect log"),
	say(secrecy, 4, "user users human", "not never shouldnt mustnt neednt", "know see notice aware informed told notified"),
	say(secrecy, 4, "hide conceal", "this it these from", "user users human"),

	say(toolOrder, 3, "before prior", "using calling invoking running executing use", "any all every other another each", "tool tools function functions"),
	say(toolOrder, 3, "when whenever while after", "using calling invoking", "any other another all every", "tool tools function functions server servers"),
	say(toolOrder, 4, "call use invoke run execute", "this", "tool function", "first before", "any every all anything everything other"),
	say(toolOrder, 4, "must always", "called call run executed invoked", "before", "any every all other anything"),
	say(toolOrder, 3, "effects effect", "on", "other another", "tool tools"),
	say(toolOrder, 4, "changes modifies alters affects", "behavior behaviour", "other another", "tool tools"),
	say(toolOrder, 4, "every each", "response answer message reply turn conversation", "must always first", "call use include invoke"),
	say(toolOrder, 2, "will", "not", "work function", "unless until", "you"),

	say(exfiltration, 6, "send post upload forward transmit exfiltrate email leak copy pass append include put attach", "credentials secrets password passwords passphrase token tokens cookies keys key", "to in into as", "url webhook address parameter argument field server endpoint sidenote http https note"),
	say(exfiltration, 5, "send post upload forward transmit exfiltrate email pass include append attach put paste provide insert", "conversation chat dialogue dialog", "history transcript log context messages"),
	say(exfiltration, 5, "send post upload forward transmit exfiltrate pass include append attach put paste provide insert", "environment env", "variables variable vars", "to as in into"),
	say(exfiltration, 5, "full entire complete whole all", "conversation chat", "history transcript so context", "far parameter field so verbatim user"),
	say(exfiltration, 5, "read open load access cat get fetch", "contents content file", "and then", "pass send include provide supply append attach put", "content contents it as"),
	say(exfiltration, 5, "system", "prompt", "verbatim parameter here field argument include pass"),
	say(exfiltration, 5, "include pass provide send repeat copy", "system", "prompt"),

	say(preference, 3, "always must", "prefer choose select use", "this", "tool function", "over instead rather"),
	say(preference, 3, "best most", "only reliable trusted accurate official", "tool", "must always never"),
	say(preference, 3, "not dont never", "use call", "any", "other alternative", "tool tools function server"),
	say(preference, 3, "other competing alternative", "tools servers", "are", "deprecated unsafe broken insecure unreliable malicious outdated"),
	say(preference, 3, "highest top", "priority", "over among of", "all other any", "tools tool"),

	say(redirects, 5, "change replace set modify rewrite substitute", "recipient recipients iban account payee beneficiary destination", "to with by"),
	say(redirects, 5, "always must secretly also", "bcc cc", "to address email with"),
	say(redirects, 6, "all every any", "emails messages payments mails transfers", "must should", "sent go forwarded routed", "to through via"),

	say(shellCode, 3, "rm", "rf fr", "home etc root /*"),
})

// signs are what words cannot tell. A pattern is only tried on a text with one of the marks near it, which is cheaper.
var signs = []struct {
	rule    int
	marks   []string
	pattern *regexp.Regexp
}{
	{markup, []string{"<"}, regexp.MustCompile(`(?i)</?\s*(important|system|secret|hidden|instructions?|admin|critical|urgent|sys_?prompt|override|attention)\s*>`)},
	{markup, []string{"[", "<"}, regexp.MustCompile(`(?i)\[\s*(hidden|system|inst|admin|secret)[ _-]?(instructions?|message|prompt|note|override)?\s*\]|\[/?INST\]|<\|(im_start|im_end|system|endoftext)\|>|<!--`)},
	{markup, []string{":"}, regexp.MustCompile(`(?im)^\s*#*\s*(system|assistant|developer)( (prompt|message|override|note|instruction))?\s*:`)},
	{offScreen, []string{"    ", "\n", "\t", "\u00a0", "\u3000", "\u2003"}, regexp.MustCompile(`\S[ \t\x{a0}\x{2000}-\x{200a}\x{3000}]{100,}\S|\S\s*\n(\s*\n){30,}\s*\S`)},
	{shellCode, []string{"|", "/", "-"}, regexp.MustCompile(`(?i)\b(curl|wget)\b[^|\n]{0,200}\|\s*(sudo\s+)?(ba|z|da)?sh\b|/dev/tcp/|\bbase64\s+(-d|--decode)\b[^|\n]{0,60}\|\s*(ba)?sh\b|\brm\s+-(rf|fr)\s+(/|~|\$HOME)|\b(nc|ncat)\s+-[a-z]*e\b|:\(\)\s*\{\s*:\|:`)},
	{redirects, []string{"@"}, regexp.MustCompile(`(?i)\b(bcc|cc|forward|send|copy|recipient|redirect)\b[^.\n]{0,80}\b[\w.+-]+@[\w-]+(\.[\w-]+)*\.(evil|attacker|attkr|onion)\b`)},
	{exfiltration, []string{"://"}, regexp.MustCompile(`(?i)\b(send|post|upload|forward|transmit|exfiltrate|append|encode)\b[^.\n]{0,120}\b(contents?|credentials?|secrets?|passwords?|tokens?|keys?|history|variables|files?|data|results?|response|arguments?|conversation)\b[^\n]{0,60}\b(to|into|via|at)\b\s*[(` + "`" + `"']*https?://`)},
}

// parameters are names under which a tool collects what a model knows, whatever the tool is for.
var parameters = wordSet(`sidenote side_note side-note conversationhistory chathistory fullconversation messagehistory
	previousmessages systemprompt chainofthought scratchpad contextdump conversationcontext conversationsofar allmessages
	modelname toolslist availabletools tools_list hiddenfield secretnote`)

// maxGuessed bounds the text of one definition that the heuristics look at. What is longer is one more thing to say.
const maxGuessed = 64 << 10

// guess adds what the heuristics think of a definition, each guess once, at the first place.
func (r *reader) guess(definition map[string]any) {
	said := map[int]bool{}
	say := func(rule int, at *step) {
		if !said[rule] {
			said[rule] = true
			h, where := heuristics[rule], at.String()
			r.add(Finding{Code: h.code, Where: where, Message: "The text at " + where + " " + h.message + ".", Heuristic: true})
		}
	}
	left := maxGuessed
	passages(nil, definition, func(at *step, text string) {
		if len(text) > left {
			text = strings.ToValidUTF8(text[:left], "")
		}
		left -= len(text)
		for _, rule := range guesses(text) {
			say(rule, at)
		}
	})
	if left == 0 {
		r.add(Finding{Code: "very_long", Message: "The definition is longer than is looked through for injections.", Heuristic: true})
	}
	properties(nil, definition, func(at *step) { say(hiddenParameter, at) })
}

// guesses gives what the heuristics think of one text.
func guesses(text string) []int {
	var rules []int
	if !strings.ContainsAny(text, " \t\n/<") && len(text) < minEncoded {
		return nil // one word
	}
	for _, sentence := range sentences(text) {
		rules = append(rules, phrases.in(plainWords(sentence))...)
		if containsAny(sentence, placeMarks) && places.MatchString(sentence) && !denials.MatchString(sentence) {
			rules = append(rules, credentials)
		}
	}
	for _, s := range signs {
		if containsAny(text, s.marks) && s.pattern.MatchString(text) {
			rules = append(rules, s.rule)
		}
	}
	if holdsEncoded(text) {
		rules = append(rules, encoded)
	}
	return rules
}

func containsAny(s string, parts []string) bool {
	for _, p := range parts {
		if strings.Contains(s, p) {
			return true
		}
	}
	return false
}

var placeMarks = []string{"/", `\`, "_", "."}

// places are where secrets are kept.
var places = regexp.MustCompile(`(?i)(~|\$home|/home/[\w.$<>{}-]+|/root|/users/[\w.$<>{}-]+|%userprofile%)[/\\]+\.(ssh|aws|gnupg|netrc|npmrc|pypirc|docker|azure|kube|cursor|bash_history|zsh_history|git-credentials|config[/\\]gcloud|claude)\b` +
	`|\bid_(rsa|ed25519|ecdsa|dsa)\b|\.ssh[/\\](id_|config|authorized_keys|known_hosts)|/etc/(passwd|shadow|sudoers)\b|\.aws[/\\]credentials|\.cursor[/\\]mcp\.json|claude_desktop_config\.json|169\.254\.169\.254|\blogin\.keychain`)

// denials are how an honest text says that it keeps away from them.
var denials = regexp.MustCompile(`(?i)\b(never|does not|doesn't|do not|don't|cannot|can't|will not|won't)\s+(ever\s+)?(read|access|open|touch|look at|send|store|upload)s?\b|\b(is|are)\s+(rejected|denied|refused|blocked|forbidden|excluded|not allowed|not permitted)\b`)

// properties calls each with every place that declares a parameter of a telling name.
func properties(at *step, value any, each func(at *step)) {
	switch v := value.(type) {
	case map[string]any:
		declared, _ := v["properties"].(map[string]any)
		for name := range declared {
			plain := strings.Map(func(r rune) rune {
				if unicode.IsLetter(r) {
					return unicode.ToLower(r)
				}
				return -1
			}, name)
			if parameters[plain] {
				each(&step{&step{at, "properties"}, name})
			}
		}
		for name, below := range v {
			properties(&step{at, name}, below, each)
		}
	case []any:
		for _, below := range v {
			properties(at, below, each)
		}
	}
}

// minEncoded is the length of the shortest run in Base64 that is looked into.
const minEncoded = 40

var base64Run = regexp.MustCompile(`[A-Za-z0-9+/_-]{40,}`)

// holdsEncoded reports whether a run of Base64 in the text decodes to something a person would read.
func holdsEncoded(text string) bool {
	for _, run := range base64Run.FindAllString(text, 20) {
		run = strings.NewReplacer("-", "+", "_", "/").Replace(run)
		plain, err := base64.RawStdEncoding.DecodeString(run[:len(run)/4*4])
		if err == nil && utf8.Valid(plain) && bytes.Count(plain, []byte(" ")) >= 3 && !bytes.ContainsFunc(plain, unicode.IsControl) {
			return true
		}
	}
	return false
}
