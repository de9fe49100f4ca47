package gateway

import (
	"countersign/canonical"
)

// Members of _meta to which the protocol, or we, give meaning.
const (
	metaVersion      = "io.modelcontextprotocol/protocolVersion"
	metaCapabilities = "io.modelcontextprotocol/clientCapabilities"
	metaClientInfo   = "io.modelcontextprotocol/clientInfo"
	metaApproval     = "countersign/approval" // what a held call is told
	metaDecision     = "countersign/decision" // what a denied call is told
	metaModel        = "countersign/model"    // a caller may declare its model
)

var metaFields = []string{metaVersion, metaCapabilities, metaClientInfo, metaModel, "progressToken"}

// firstModern is the first protocol version without sessions, where headers repeat the body.
const firstModern = "2026-07-28"

// bodyVersion is the protocol version that the message itself names.
func (m *message) bodyVersion() string {
	if value, ok := canonical.Lookup(m.meta, metaVersion); ok {
		version, _ := canonical.Text(value)
		return version
	}
	return ""
}

// showsURL reports whether the caller declared that it can show a URL to its user.
func (m *message) showsURL() bool {
	capabilities, ok := canonical.Lookup(m.meta, metaCapabilities)
	if !ok {
		return false
	}
	for _, key := range []string{"elicitation", "url"} {
		members, err := canonical.Members(capabilities)
		if err != nil {
			return false
		}
		if capabilities, ok = canonical.Lookup(members, key); !ok {
			return false
		}
	}
	return capabilities[0] == '{'
}
