package client_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"github.com/go-jose/go-jose/v4"

	"countersign/canonical"
	"countersign/client"
	"countersign/policy"
)

// A gateway that decides on calls, whole but for the calls themselves.
func Example() {
	plane, root := controlPlane() // in earnest: https://countersign.example.com, and what its page of the gateway shows
	defer plane.Close()
	state, err := os.MkdirTemp("", "gateway") // in earnest: a folder that outlives the process
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(state)

	control, err := client.New(client.Config{
		ControlPlane: plane.URL, ClientID: "cli_1", ClientSecret: "from a file", Instance: "gateway-1", Version: "v1.2.3",
	})
	if err != nil {
		panic(err)
	}
	feed, err := client.NewFeed(client.FeedConfig{Client: control, StateDir: state, RootKey: root})
	if err != nil {
		panic(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		_ = feed.Run(ctx) // follows the policy and reports what runs; nil when ctx ends
	}()

	decide := func(tool string) {
		current, err := feed.Current() // for every call anew
		if err != nil {
			fmt.Printf("%s: denied, %v\n", tool, err) // no policy, too old, or revoked: there is no other answer
			return
		}
		verdict := current.Index.Decide(policy.Request{
			Server: "com.example/orders", Kind: policy.KindTool, Name: tool, Now: time.Now(),
			Principal: &policy.Principal{Issuer: "https://idp.example.com", Subject: "tomas"}, // from the caller's verified token
		})
		fmt.Printf("%s: %s %s\n", tool, verdict.Outcome, verdict.Reason)
	}

	changed := feed.Changed()
	decide("list_orders") // a start without a copy on disk denies
	<-changed
	decide("list_orders")
	decide("drop_orders")

	stop()
	<-stopped
	// Output:
	// list_orders: denied, no policy has arrived yet
	// list_orders: allow allowed
	// drop_orders: deny unknown_tool
}

// An MCP server without a gateway, which holds its own tools to the policy.
func ExampleGuard() {
	plane, root := controlPlane() // in earnest: https://countersign.example.com, and what its page of the gateway shows
	defer plane.Close()
	state, err := os.MkdirTemp("", "server") // in earnest: a folder that outlives the process
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(state)
	control, err := client.New(client.Config{
		ControlPlane: plane.URL, ClientID: "cli_1", ClientSecret: "from a file", Instance: "shop-1", Version: "v1.2.3",
	})
	if err != nil {
		panic(err)
	}
	feed, err := client.NewFeed(client.FeedConfig{Client: control, StateDir: state, RootKey: root})
	if err != nil {
		panic(err)
	}
	guard, err := client.NewGuard(client.GuardConfig{
		Client: control, Feed: feed, Server: "com.example/orders",
		Offer: client.Offer{Tools: []json.RawMessage{json.RawMessage(listOrders)}}, // as tools/list sends it
	})
	if err != nil {
		panic(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	changed := feed.Changed()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		_ = feed.Run(ctx) // and guard.Run(ctx) beside it
	}()
	<-changed

	// The handler of tools/call, once the caller's token was verified.
	call := func(tool, arguments string) {
		caller := client.Caller{Principal: policy.Principal{Issuer: "https://idp.example.com", Subject: "tomas"}, Token: "eyJ…"}
		result, err := guard.Call(ctx, caller, tool, json.RawMessage(arguments), func(_ context.Context, arguments json.RawMessage) ([]byte, error) {
			return fmt.Appendf(nil, "the orders for %s", arguments), nil // these arguments, and no others, may be executed
		})
		if no := (*client.NotExecutedError)(nil); errors.As(err, &no) {
			fmt.Println(no.Text) // with no.Meta() in _meta, and isError
			return
		}
		fmt.Println(string(result))
	}
	call("list_orders", `{"b": 1.0, "a": "x"}`)
	call("list_orders", `{"id": 9007199254740993}`)
	call("drop_orders", `{}`)

	stop()
	<-stopped
	// Output:
	// the orders for {"a":"x","b":1}
	// INVALID ARGUMENTS (not executed): they cannot be read in exactly one way: a number is beyond ±(2^53−1) at byte 7, in /id. Correct them and call again.
	// Unknown tool "drop_orders" (not executed): it is not offered, or no grant lets you use it. Ask an admin for a grant if you need it.
}

const listOrders = `{"name":"list_orders","inputSchema":{"type":"object"}}`

// controlPlane answers as one does, with a policy of one tool that everyone may call. It gives its root key.
func controlPlane() (plane *httptest.Server, root string) {
	_, rootKey, _ := ed25519.GenerateKey(nil)
	_, policyKey, _ := ed25519.GenerateKey(nil)
	root, _ = client.Thumbprint(rootKey.Public())
	kid, _ := client.Thumbprint(policyKey.Public())
	keys, _ := json.Marshal(client.KeySet{Issuer: "https://countersign.example.com", IssuedAt: time.Now(), Version: 1, Keys: []client.PublishedKey{
		{Purpose: client.PurposePolicy, JSONWebKey: jose.JSONWebKey{Key: policyKey.Public(), KeyID: kid, Algorithm: "EdDSA", Use: "sig"}},
	}})
	signer, _ := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: rootKey},
		(&jose.SignerOptions{}).WithType(client.KeySetType).WithHeader("jwk", jose.JSONWebKey{Key: rootKey.Public()}))
	signed, _ := signer.Sign(keys)
	keySet, _ := signed.CompactSerialize()

	definition, _ := client.DefinitionDigest(json.RawMessage(listOrders))
	document := policy.Document{
		Format: policy.Format, Issuer: "https://countersign.example.com", Audience: "aud_1", Epoch: 1, Revision: 42,
		IssuedAt: time.Now().UTC(), MaxStaleSeconds: 300,
		Servers: []policy.Server{{ID: "srv_1", Name: "com.example/orders", State: policy.Active, Tools: []policy.Tool{{
			ID: "tol_1", Kind: policy.KindTool, Name: "list_orders", Definition: definition, Risk: policy.ReadOnly, Grants: []int{0},
		}}, Endpoint: policy.Endpoint{Transport: policy.StreamableHTTP, URL: "https://orders.example.com/mcp", Digest: canonical.Sum("example", nil)}}},
		Grants: []policy.Grant{{ID: "grt_1", Name: "Everybody", Subject: policy.Subject{Everyone: true}}}, Guardrails: []policy.Guardrail{},
	}
	text, _ := document.Marshal()
	sealed, _ := policy.Sign(text, policyKey, kid)

	mux := http.NewServeMux()
	mux.HandleFunc("POST "+client.PathToken, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(client.TokenReply{AccessToken: "token", TokenType: "Bearer", ExpiresIn: 600})
	})
	mux.HandleFunc("GET "+client.PathKeys, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", client.TypeJOSE)
		_, _ = w.Write([]byte(keySet))
	})
	mux.HandleFunc("PUT "+client.PathStatus, func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(client.StatusReply{GatewayID: "gtw_1"})
	})
	mux.HandleFunc("GET "+client.PathPolicy, func(w http.ResponseWriter, r *http.Request) {
		etag := policy.ETag(1, 42, document.ContentDigest(), "jose")
		w.Header().Set("ETag", etag)
		w.Header().Set(client.HeaderRevision, "42")
		w.Header().Set(client.HeaderLease, "300")
		if r.Header.Get("If-None-Match") == etag {
			w.WriteHeader(http.StatusNotModified) // in earnest: after waiting as Prefer says
			return
		}
		_, _ = w.Write([]byte(sealed.JWS))
	})
	return httptest.NewServer(mux), root
}
