package gateway

import "strings"

// toolCall is the body of a call of a tool.
func toolCall(tool, arguments string) string {
	return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + tool + `","arguments":` + arguments + `}}`
}

func body(name, text string, want []seenCall) hostileRequest {
	return hostileRequest{name: name, body: text, want: want}
}

// refused is a body that must not reach the server.
func refused(name, text string) hostileRequest { return body(name, text, nil) }

// instead replaces the first occurrence in a call of the granted tool, as a body that must not reach the server.
func instead(name, old, other string) hostileRequest {
	return refused(name, strings.Replace(toolCall("safe", `{"a":1}`), old, other, 1))
}

// utf16 writes ASCII in two bytes a letter.
func utf16(s string, big bool) string {
	var b strings.Builder
	for i := range len(s) {
		if big {
			b.Write([]byte{0, s[i]})
		} else {
			b.Write([]byte{s[i], 0})
		}
	}
	return b.String()
}

// bodyRows are about what parsers of JSON disagree on.
func bodyRows() []hostileRequest {
	good := toolCall("safe", `{"a":1}`)
	const name, method = `"name":"safe"`, `"method":"tools/call"`
	return []hostileRequest{
		body("a good call", good, safe(`{"a":1}`)),
		body("a good call, with space", " \t\r\n"+strings.ReplaceAll(good, ",", " ,\r\n\t")+"\n", safe(`{"a":1}`)),
		body("escapes in a value", strings.Replace(good, `"safe"`, `"\u0073\u0061fe"`, 1), safe(`{"a":1}`)),
		body("an escaped key", strings.Replace(good, `"name"`, `"\u006eame"`, 1), safe(`{"a":1}`)),
		body("an unknown key", strings.Replace(good, name, name+`,"other":1`, 1), safe(`{"a":1}`)),
		refused("a call that is not granted", toolCall("danger", `{}`)),

		instead("the name twice", name, name+`,"name":"danger"`),
		instead("the name twice, the other first", name, `"name":"danger",`+name),
		instead("the name twice, once escaped", name, name+`,"\u006eame":"danger"`),
		instead("the method twice", method, method+`,"method":"ping"`),
		instead("the method twice, the other first", method, `"method":"tools/list",`+method),
		instead("the id twice", `"id":1`, `"id":1,"id":2`),
		instead("the version twice", `"jsonrpc":"2.0"`, `"jsonrpc":"2.0","jsonrpc":"1.0"`),
		instead("parameters twice", method, method+`,"params":{"name":"danger"}`),
		instead("arguments twice", `"arguments":{"a":1}`, `"arguments":{"a":1},"arguments":{"a":2}`),
		instead("a member of the arguments twice", `{"a":1}`, `{"a":1,"a":2}`),
		instead("a member deep in the arguments twice", `{"a":1}`, `{"a":[{"b":{"c":1,"c":2}}]}`),
		instead("a member of _meta twice", name, name+`,"_meta":{"progressToken":1,"progressToken":2}`),

		instead("Jsonrpc", `"jsonrpc"`, `"Jsonrpc":"1.0","jsonrpc"`),
		instead("ID", `"id":1`, `"id":1,"ID":2`),
		instead("ID alone", `"id":1`, `"ID":1`),
		instead("Method", method, method+`,"Method":"ping"`),
		instead("METHOD alone", `"method"`, `"METHOD"`),
		instead("Params", method, method+`,"Params":{"name":"danger"}`),
		instead("NAME", name, name+`,"NAME":"danger"`),
		instead("Name alone", `"name"`, `"Name"`),
		instead("Arguments", name, name+`,"Arguments":{"a":2}`),
		instead("_Meta", name, name+`,"_meta":{},"_Meta":{}`),
		instead("long s", `"params"`, `"param\u017f":{"name":"danger"},"params"`),
		instead("long s, unescaped", `"arguments"`, `"argumentſ":{"a":2},"arguments"`),
		instead("Kelvin sign", name, name+`,"_meta":{"progressTo\u212Aen":1}`),
		instead("full width", name, name+`,"\uff4eame":"danger","Name":"danger"`),
		instead("NUL after a key", name, name+`,"name\u0000":"danger"`),
		instead("NUL after a key of the envelope", method, method+`,"params\u0000x":{"name":"danger"}`),
		instead("NUL after a key of the arguments", `{"a":1}`, `{"a":1,"a\u0000":2}`),
		instead("NUL in the name", `"safe"`, `"safe\u0000danger"`),
		refused("Uri of a resource", `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"test://safe","URI":"test://danger"}}`),
		refused("a resource's name beside its address", `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"test://danger","name":"test://safe"}}`),

		instead("a byte order mark", `{"jsonrpc"`, "\ufeff"+`{"jsonrpc"`),
		refused("UTF-16, little end first", "\xff\xfe"+utf16(good, false)),
		refused("UTF-16, big end first", "\xfe\xff"+utf16(good, true)),
		refused("UTF-16 without a mark", utf16(good, false)),
		refused("a second message", good+toolCall("danger", `{}`)),
		refused("a second message on a line of its own", good+"\n"+toolCall("danger", `{}`)),
		refused("something behind", good+"x"),
		refused("NUL behind", good+"\x00"),
		refused("something before", ")]}',\n"+good),
		refused("NUL before", "\x00"+good),
		refused("a form feed before", "\f"+good),
		refused("a batch", "["+good+"]"),
		refused("a batch of two", "["+good+","+toolCall("danger", `{}`)+"]"),
		refused("an empty batch", "[]"),
		refused("nothing", ""),
		refused("half a message", good[:len(good)-2]),
		instead("a comment", name, name+`/*,"name":"danger"*/`),
		instead("a comment that ends in a line", name, name+"//\n"),
		instead("a comma too many", `{"a":1}`, `{"a":1,}`),
		instead("single quotes", `"safe"`, `'safe'`),
		instead("a key without quotes", `"name"`, `name`),
		instead("hexadecimal escapes", `"safe"`, `"\x73afe"`),
		instead("a lone high surrogate", `{"a":1}`, `{"a":"\ud800"}`),
		instead("a lone low surrogate", `{"a":1}`, `{"a":"\udc00x"}`),
		instead("a lone surrogate in a key", name, name+`,"name\ud800":"danger"`),
		instead("an overlong letter", `"safe"`, "\"\xc1\xb3afe\""),
		instead("an overlong NUL", `"safe"`, "\"safe\xc0\x80\""),
		instead("a surrogate in UTF-8", `{"a":1}`, "{\"a\":\"\xed\xa0\x80\"}"),
		instead("a byte that is not UTF-8", `{"a":1}`, "{\"a\":\"\xff\"}"),
		instead("a newline in a text", `{"a":1}`, "{\"a\":\"\n\"}"),
		instead("deep nesting", `{"a":1}`, `{"a":`+strings.Repeat("[", 200)+strings.Repeat("]", 200)+`}`),
		instead("nesting that never ends", `{"a":1}`, strings.Repeat(`{"a":`, 100_000)),
		instead("arguments that are a list", `{"a":1}`, `[{"a":1}]`),
		instead("arguments that are text", `{"a":1}`, `"{\"a\":1}"`),
		instead("the name in a list", `"safe"`, `["safe"]`),
		instead("the name as an object", `"safe"`, `{"toString":"safe"}`),
		instead("parameters that are a list", `{"name":"safe","arguments":{"a":1}}`, `["safe"]`),
		instead("a method with space", `"tools/call"`, `"tools/call "`),
		instead("a method in capitals", `"tools/call"`, `"Tools/Call"`),
		instead("a method and a result", method, method+`,"result":{}`),
		instead("a call without an id", `"id":1,`, ``),
		instead("an old version of JSON-RPC", `"2.0"`, `"1.0"`),
		instead("no version of JSON-RPC", `"jsonrpc":"2.0",`, ``),
		instead("a prototype", `"safe"`, `"safe","__proto__":{"name":"danger"},"name":"danger"`),
	}
}

// numberRows are about numbers, which are exact to some and rounded by others.
func numberRows() []hostileRequest {
	amount := func(name, number string) hostileRequest {
		return refused(name, toolCall("limited", `{"amount":`+number+`}`))
	}
	id := func(name, id string) hostileRequest { return instead(name, `"id":1`, `"id":`+id) }
	return []hostileRequest{
		body("an amount that may be", toolCall("limited", `{"amount":100}`), bounded(`{"amount":100}`)),
		amount("an amount that may not be", "101"),
		amount("a little too much", "100.00000000000001"),
		amount("less too much than floats see", "100.000000000000000000001"),
		amount("beyond exact floats", "9007199254740993"),
		amount("beyond 64 bits", "18446744073709551716"),
		amount("beyond all floats", "1e400"),
		amount("an exponent without end", "1e99999999999999999999"),
		amount("NaN", "NaN"),
		amount("infinity", "-Infinity"),
		amount("hexadecimal", "0x10"),
		amount("octal", "010"),
		amount("a plus sign", "+1"),
		amount("no digit before the point", ".5"),
		amount("no digit behind the point", "5."),
		amount("an underscore", "1_0"),
		amount("text that is a number", `"1"`),
		amount("a number of another script", "\u0661"),
		id("an id that is null", "null"),
		id("an id that is a list", "[1]"),
		id("an id that is a truth", "true"),
		id("an id that is an object", `{"a":1}`),
		id("an id that is NaN", "NaN"),
		id("an id with a leading zero", "01"),
		id("an id of a megabyte", `"`+strings.Repeat("x", 900_000)+`"`),
		id("an id that is a fraction", "1.5"),
		id("an id that has an exponent", "1e3"),
		id("an id beyond exact floats", "9007199254740993"),
	}
}
