package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// shop is what the tools are about.
type shop struct {
	mu      sync.Mutex
	orders  []string
	deleted int // how often delete_order was executed
}

func newShop() *shop {
	return &shop{orders: []string{"o-1001", "o-1002", "o-1003", "o-1004", "o-1005"}}
}

func (s *shop) tools() []tool {
	return []tool{
		{
			definition: &mcp.Tool{
				Name: "list_orders", Description: "Lists the orders of the shop.",
				InputSchema: json.RawMessage(`{"type":"object","additionalProperties":false}`),
				Annotations: &mcp.ToolAnnotations{ReadOnlyHint: true},
			},
			check: func(arguments json.RawMessage) error { return strictly(arguments, &struct{}{}) },
			run:   func(json.RawMessage) (string, error) { return s.list(), nil },
		},
		{
			definition: &mcp.Tool{
				Name: "delete_order",
				Description: "Deletes one order, for good. A person has to approve each call: the first answer says where. After the " +
					"approval call again with exactly the same arguments. Leave confirmation_token out, unless your user gives you " +
					"one: then add it, and change nothing else.",
				InputSchema: json.RawMessage(`{"type":"object","properties":{
					"order_id":{"type":"string","description":"Which order, such as o-1001."},
					"confirmation_token":{"type":"string","description":"What the person who called was shown, cst_…"}},
					"required":["order_id"],"additionalProperties":false}`),
				Annotations: &mcp.ToolAnnotations{DestructiveHint: new(true)},
			},
			check: func(arguments json.RawMessage) error { _, err := readDeletion(arguments); return err },
			run:   s.remove,
		},
	}
}

// deletion is what delete_order takes. The token is the guard's; it is named here so that it is known.
type deletion struct {
	OrderID string `json:"order_id"`
	Token   string `json:"confirmation_token"`
}

func readDeletion(arguments json.RawMessage) (deletion, error) {
	var d deletion
	err := strictly(arguments, &d)
	if err == nil && d.OrderID == "" {
		err = errors.New("order_id is missing")
	}
	return d, err
}

func strictly(arguments json.RawMessage, into any) error {
	if len(arguments) == 0 {
		arguments = json.RawMessage("{}")
	}
	d := json.NewDecoder(bytes.NewReader(arguments))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

func (s *shop) list() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.orders, " ")
}

func (s *shop) remove(arguments json.RawMessage) (string, error) {
	d, err := readDeletion(arguments)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.orders, d.OrderID)
	if i < 0 {
		return "", fmt.Errorf("there is no order %q; nothing was deleted", d.OrderID)
	}
	s.orders = slices.Delete(s.orders, i, i+1)
	s.deleted++
	return "Deleted " + d.OrderID + ".", nil
}
