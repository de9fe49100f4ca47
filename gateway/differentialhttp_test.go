package gateway

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"strings"
)

// lines joins the lines of a request.
func lines(all ...string) string { return strings.Join(all, "\r\n") }

// chunked writes a body in two chunks.
func chunked(body string) string {
	half := len(body) / 2
	return fmt.Sprintf("%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", half, body[:half], len(body)-half, body[half:])
}

// wire is a request that is written out. {path} and {token} stand for those of a good one.
func wire(name, text string, want []seenCall) hostileRequest {
	return hostileRequest{name: name, wire: text, want: want}
}

// framed is a request whose length is said as head has it.
func framed(name string, want []seenCall, body string, head ...string) hostileRequest {
	return wire(name, posted("{path}", head...)+body, want)
}

// posted is the head of a request for a target.
func posted(target string, more ...string) string {
	return lines(append([]string{
		"POST " + target + " HTTP/1.1", "Host: 127.0.0.1", "Authorization: Bearer {token}", "Content-Type: application/json", "Connection: close",
	}, more...)...) + "\r\n\r\n"
}

// cutOff is a request whose caller stops in its middle.
func cutOff(r hostileRequest) hostileRequest {
	r.ends = true
	return r
}

func withHeader(name, body string, want []seenCall, headers ...string) hostileRequest {
	return hostileRequest{name: name, body: body, headers: headers, want: want}
}

// gzipped is a bomb: a call, and a hundred megabytes of space.
func gzipped(body string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(body))
	space := bytes.Repeat([]byte{' '}, 1<<20)
	for range 100 {
		_, _ = w.Write(space)
	}
	_ = w.Close()
	return b.String()
}

func encoded(s string) string {
	return "=?base64?" + base64.StdEncoding.EncodeToString([]byte(s)) + "?="
}

// headerRows are about headers that say something else than the body, or that another server might act on.
func headerRows() []hostileRequest {
	good := toolCall("safe", `{"a":1}`)
	seen := safe(`{"a":1}`)
	modern := strings.Replace(good, `"arguments"`, modernMeta+`,"arguments"`, 1)
	routed := toolCall("routed", `{"region":"west"}`)
	era := []string{"MCP-Protocol-Version: 2026-07-28", "Mcp-Method: tools/call"}
	with := func(name string, want []seenCall, headers ...string) hostileRequest {
		return withHeader(name, good, want, headers...)
	}
	stateless := func(name string, want []seenCall, headers ...string) hostileRequest {
		return withHeader(name, modern, want, append(append([]string{}, era...), headers...)...)
	}
	region := func(name string, want []seenCall, header string) hostileRequest {
		return withHeader(name, routed, want, header)
	}
	west := []seenCall{{"tools/call", "routed", `{"region":"west"}`}}
	return []hostileRequest{
		stateless("a good stateless call", seen, "Mcp-Name: safe"),
		stateless("another name in the header", nil, "Mcp-Name: danger"),
		stateless("no name in the header", nil),
		stateless("an empty name in the header", nil, "Mcp-Name:"),
		stateless("two names in headers", nil, "Mcp-Name: safe", "mcp-name: danger"),
		stateless("two names in one header", nil, "Mcp-Name: safe, danger"),
		stateless("a name in another case", nil, "Mcp-Name: Safe"),
		stateless("an encoded name", seen, "Mcp-Name: "+encoded("safe")),
		stateless("another encoded name", nil, "Mcp-Name: "+encoded("danger")),
		stateless("a name that is encoded twice", nil, "Mcp-Name: "+encoded(encoded("safe"))),
		stateless("an encoded name without padding", nil, "Mcp-Name: =?base64?c2FmZQ?="),
		stateless("an encoded name with a line in it", nil, "Mcp-Name: =?base64?c2Fm\r\n ZQ==?="),
		stateless("an encoded name and more", nil, "Mcp-Name: =?base64?c2FmZQ==?=danger"),
		stateless("an encoded name in capitals", nil, "Mcp-Name: =?BASE64?c2FmZQ==?="),
		stateless("an encoded word of mail", nil, "Mcp-Name: =?utf-8?b?c2FmZQ==?="),
		stateless("a folded name", nil, "Mcp-Name: safe\r\n danger"),
		stateless("a name behind a bare CR", nil, "Mcp-Name: safe\rMcp-Name: danger"),
		stateless("a name with NUL", nil, "Mcp-Name: safe\x00"),
		stateless("a space before the colon", nil, "Mcp-Name : danger", "Mcp-Name: safe"),
		stateless("an underscore for a hyphen", seen, "Mcp-Name: safe", "Mcp_Name: danger"),
		with("another method in the header", nil, "Mcp-Method: tools/list"),
		with("another name in the older era", nil, "Mcp-Name: danger"),
		with("a version of the future in the header only", nil, "MCP-Protocol-Version: 2026-07-28", "Mcp-Method: tools/call", "Mcp-Name: safe"),
		withHeader("an old version over a stateless body", modern, nil, "MCP-Protocol-Version: 2025-11-25", "Mcp-Name: danger"),
		with("two versions", nil, "MCP-Protocol-Version: 2025-11-25", "MCP-Protocol-Version: 2026-07-28"),
		with("two sessions", nil, "Mcp-Session-Id: a", "Mcp-Session-Id: b"),
		with("a session of nobody", nil, "Mcp-Session-Id: a"),

		region("an argument repeated in a header", west, "Mcp-Param-Region: west"),
		region("an encoded argument in a header", west, "Mcp-Param-Region: "+encoded("west")),
		region("another argument in a header", nil, "Mcp-Param-Region: east"),
		region("an argument in a header twice", nil, "Mcp-Param-Region: west\r\nMcp-Param-Region: east"),
		region("an argument that no header has", nil, "Mcp-Param-Other: east"),
		region("an argument that is not encoded rightly", nil, "Mcp-Param-Region: =?base64?d2VzdA=?="),

		with("another method of HTTP", seen, "X-HTTP-Method-Override: DELETE", "X-HTTP-Method: PUT", "X-Method-Override: GET"),
		with("another address", seen, "X-Original-URL: /admin", "X-Rewrite-URL: /admin", "X-Forwarded-Prefix: /admin"),
		with("another host behind us", seen, "X-Forwarded-Host: evil.test", "X-Host: evil.test", "Forwarded: host=evil.test"),
		with("an upgrade to HTTP/2", seen, "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"),
		with("an upgrade to a socket", seen, "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
		with("headers that are to be dropped", seen, "Connection: close, Content-Type, Mcp-Protocol-Version"),
		with("another origin", nil, "Origin: https://evil.test"),
		with("an origin that is null", nil, "Origin: null"),
		with("two hosts", nil, "Host: evil.test"),
		with("two tokens", nil, "Authorization: Bearer x"),
		{name: "no token", body: good, without: "Authorization"},
		{name: "another host", body: good, without: "Host", headers: []string{"Host: evil.test"}},
		{name: "no host", body: good, without: "Host"},

		{name: "text", body: good, without: "Content-Type", headers: []string{"Content-Type: text/plain"}},
		{name: "no type", body: good, without: "Content-Type"},
		{name: "a form", body: good, without: "Content-Type", headers: []string{"Content-Type: application/x-www-form-urlencoded"}},
		with("two types", nil, "Content-Type: text/plain"),
		{name: "two types in one header", body: good, without: "Content-Type", headers: []string{"Content-Type: application/json, text/plain"}},
		{name: "another charset", body: good, without: "Content-Type", headers: []string{"Content-Type: application/json; charset=utf-7"}},
		{name: "two charsets", body: good, without: "Content-Type", headers: []string{"Content-Type: application/json; charset=utf-8; charset=utf-7"}},
		{name: "a charset in continuation", body: good, without: "Content-Type", headers: []string{"Content-Type: application/json; charset*0=utf; charset*1=-7"}},
		{name: "a charset that is quoted", body: good, without: "Content-Type", headers: []string{`Content-Type: application/json; charset="utf-8"`}, want: seen},
		withHeader("a bomb", gzipped(good), nil, "Content-Encoding: gzip"),
		withHeader("a bomb that is said to be none", gzipped(good), nil, "Content-Encoding: identity, gzip"),
		withHeader("a bomb under another name", gzipped(good), nil, "Content-Encoding: x-gzip"),
		withHeader("a bomb without a name", gzipped(good), nil),
		with("a coding that is none", nil, "Content-Encoding: deflate"),
		with("an empty coding and another", nil, "Content-Encoding:", "Content-Encoding: gzip"),
	}
}

// framingRows are about where a request ends.
func framingRows() []hostileRequest {
	good, evil := toolCall("safe", `{"a":1}`), toolCall("danger", `{}`)
	seen := safe(`{"a":1}`)
	length := fmt.Sprint("Content-Length: ", len(good))
	smuggled := strings.ReplaceAll(posted("{path}", fmt.Sprint("Content-Length: ", len(evil))), "Connection: close\r\n", "") + evil
	return []hostileRequest{
		framed("chunks", seen, chunked(good), "Transfer-Encoding: chunked"),
		framed("two lengths", nil, good+evil, length, fmt.Sprint("Content-Length: ", len(good)+len(evil))),
		framed("two lengths in one header", nil, good, fmt.Sprintf("Content-Length: %d, %d", len(good), len(good)+1)),
		framed("a length with a sign", nil, good, fmt.Sprint("Content-Length: +", len(good))),
		framed("a length that is negative", nil, good, "Content-Length: -1"),
		framed("a length in hexadecimal", nil, good, fmt.Sprintf("Content-Length: 0x%x", len(good))),
		framed("a length of too many digits", nil, good, "Content-Length: 99999999999999999999"),
		cutOff(framed("a length that is too long", nil, good, fmt.Sprint("Content-Length: ", len(good)+10))),
		framed("a length that is too short", nil, good, fmt.Sprint("Content-Length: ", len(good)-1)),
		framed("a length and chunks", seen, chunked(good), "Content-Length: 4", "Transfer-Encoding: chunked"),
		framed("chunks and a length, with a call in what is left", seen, chunked(good)+smuggled, length, "Transfer-Encoding: chunked"),
		framed("chunks that are not the last coding", nil, chunked(good), "Transfer-Encoding: chunked, identity"),
		framed("chunks twice", nil, chunked(good), "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
		framed("chunks and gzip", nil, chunked(good), "Transfer-Encoding: gzip, chunked"),
		framed("chunks behind a tab", seen, chunked(good), "Transfer-Encoding:\tchunked"),
		framed("chunks in another case", seen, chunked(good), "Transfer-Encoding: CHUNKED"),
		framed("chunks in a folded header", nil, chunked(good), "Transfer-Encoding:\r\n chunked, identity"),
		framed("chunks with a vertical tab", nil, chunked(good), "Transfer-Encoding: \x0bchunked"),
		framed("a space before the colon of the coding", nil, chunked(good), "Transfer-Encoding : chunked", length),
		framed("a coding that is not known", nil, good, "Transfer-Encoding: xchunked", length),
		framed("chunks with extensions", seen, fmt.Sprintf("%x;a=b;c=\"d\"\r\n%s\r\n0;e\r\n\r\n", len(good), good), "Transfer-Encoding: chunked"),
		framed("chunks with trailers", seen, fmt.Sprintf("%x\r\n%s\r\n0\r\nMcp-Name: danger\r\nX-Method: x\r\n\r\n", len(good), good), "Transfer-Encoding: chunked", "Trailer: Mcp-Name, X-Method"),
		cutOff(framed("chunks that end in LF alone", nil, fmt.Sprintf("%x\n%s\n0\n\n", len(good), good), "Transfer-Encoding: chunked")),
		cutOff(framed("a chunk that is longer than it says", nil, fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(good)-3, good), "Transfer-Encoding: chunked")),
		framed("a chunk of a negative length", nil, "-1\r\n"+good+"\r\n0\r\n\r\n", "Transfer-Encoding: chunked"),
		framed("a chunk of too many digits", nil, "fffffffffffffffffff\r\n"+good+"\r\n0\r\n\r\n", "Transfer-Encoding: chunked"),
		framed("a chunk length with 0x", nil, fmt.Sprintf("0x%x\r\n%s\r\n0\r\n\r\n", len(good), good), "Transfer-Encoding: chunked"),
		cutOff(framed("chunks without an end", nil, fmt.Sprintf("%x\r\n%s\r\n", len(good), good), "Transfer-Encoding: chunked")),
		framed("an expectation", seen, good, length, "Expect: 100-continue"),
		framed("an expectation that nobody knows", nil, good, length, "Expect: 200-ok"),
		framed("more than a megabyte", nil, toolCall("safe", `{"a":"`+strings.Repeat("x", 1<<20)+`"}`), fmt.Sprint("Content-Length: ", len(good)+1<<20)),
		wire("lines that end in LF alone", strings.ReplaceAll(posted("{path}", length), "\r\n", "\n")+good, seen),
		wire("a call behind a good one", strings.ReplaceAll(posted("{path}", length), "Connection: close\r\n", "")+good+posted("{path}", fmt.Sprint("Content-Length: ", len(evil)))+evil, seen),
		wire("a good call behind a good one", strings.ReplaceAll(posted("{path}", length), "Connection: close\r\n", "")+good+posted("{path}", length)+good, append(safe(`{"a":1}`), seen...)),
		wire("a call behind a refused one", strings.ReplaceAll(posted("{path}", length, "Mcp-Name: x"), "Connection: close\r\n", "")+good+posted("{path}", length)+good, seen),
		wire("a call behind the close", posted("{path}", length)+good+posted("{path}", length)+good, seen),
		wire("an old version of HTTP", strings.Replace(posted("{path}", length), "HTTP/1.1", "HTTP/1.0", 1)+good, seen),
		wire("no version of HTTP", "POST {path}\r\n\r\n"+good, nil),
		wire("HTTP/2 without asking", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", nil),
		wire("a version of HTTP that is none", strings.Replace(posted("{path}", length), "HTTP/1.1", "HTTP/1.10", 1)+good, nil),
		wire("a header without a name", posted("{path}", length, ": x")+good, nil),
		wire("a header without a colon", posted("{path}", length, "x")+good, nil),
	}
}

// targetRows are about what is asked for.
func targetRows() []hostileRequest {
	good := toolCall("safe", `{"a":1}`)
	seen := safe(`{"a":1}`)
	length := fmt.Sprint("Content-Length: ", len(good))
	at := func(name, target string, want []seenCall) hostileRequest {
		return wire(name, posted(target, length)+good, want)
	}
	return []hostileRequest{
		at("steps up", "/mcp/com.example/other/../orders", nil),
		at("encoded steps up", "/mcp/com.example/%2e%2e/com.example/orders", nil),
		at("encoded slashes", "/mcp/com.example%2forders", nil),
		at("an encoded step in a name", "/mcp/com.example/orders%2f..%2fadmin", nil),
		at("slashes twice", "//mcp//com.example//orders", nil),
		at("backslashes", "/mcp\\com.example\\orders", nil),
		at("NUL in a name", "/mcp/com.example/orders%00", nil),
		at("a slash at the end", "/mcp/com.example/orders/", nil),
		at("another case", "/mcp/com.example/Orders", nil),
		at("a parameter in the path", "/mcp/com.example/orders;x=y", nil),
		at("a space in the path", "/mcp/com.example/orders%20", nil),
		at("an encoded letter", "/mcp/com.example/%6frders", seen),
		at("a query", "/mcp/com.example/orders?method=DELETE&name=danger", seen),
		at("a fragment", "/mcp/com.example/orders#x", nil),
		at("a whole address", "http://127.0.0.1/mcp/com.example/orders", seen),
		at("a whole address elsewhere", "http://evil.test/mcp/com.example/orders", nil),
		at("an address with a user", "http://127.0.0.1@evil.test/mcp/com.example/orders", nil),
		at("an address with another scheme", "file:///mcp/com.example/orders", nil),
		at("no address", "*", nil),
		wire("a tunnel", strings.Replace(posted("127.0.0.1:80", length), "POST", "CONNECT", 1)+good, nil),
		wire("a method of HTTP that we do not know", strings.Replace(posted("{path}", length), "POST", "PUT", 1)+good, nil),
		wire("a method of HTTP in small letters", strings.Replace(posted("{path}", length), "POST", "post", 1)+good, nil),
	}
}
