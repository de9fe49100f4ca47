// Package orders is the sample MCP server: com.example/orders, a shop's orders in memory.
//
// It exists to be governed. Its tools are one of each risk: list_orders only reads, update_order writes,
// delete_orders cannot be undone. A prompt and a resource are governed by the same grants. It counts what it
// really executes, so that a test can say "exactly once" and mean it.
//
// It speaks both eras of MCP on one address: sessions for clients that say initialize, and the stateless
// protocol from 2026-07-28 on.
package orders

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Name is what the server is registered as.
const Name = "com.example/orders"

// Status is how far an order is.
type Status string

// The statuses of an order.
const (
	Open      Status = "open"
	Shipped   Status = "shipped"
	Cancelled Status = "cancelled"
)

// Order is one order of the shop.
type Order struct {
	ID       string `json:"id"`
	Customer string `json:"customer"`
	Item     string `json:"item"`
	Cents    int64  `json:"cents"`
	Status   Status `json:"status"`
	Note     string `json:"note,omitempty"`
}

// shop is the state that tools read and change.
type shop struct {
	mu         sync.Mutex
	orders     []Order // by id
	executions map[string]int
}

func newShop() *shop {
	return &shop{
		executions: map[string]int{},
		orders: []Order{
			{ID: "o-1001", Customer: "Ada Lovelace", Item: "Difference gears, brass", Cents: 12900, Status: Open},
			{ID: "o-1002", Customer: "Grace Hopper", Item: "Nanosecond, copper wire", Cents: 1180, Status: Shipped},
			{ID: "o-1003", Customer: "Edsger Dijkstra", Item: "Shortest path, framed", Cents: 5600, Status: Open},
			{ID: "o-1004", Customer: "Radia Perlman", Item: "Spanning tree, potted", Cents: 3450, Status: Cancelled},
			{ID: "o-1005", Customer: "Barbara Liskov", Item: "Substitute part", Cents: 7700, Status: Open},
		},
	}
}

func (s *shop) count(tool string) {
	s.executions[tool]++
}

// list returns the orders with that status ("" for all), at most limit (0 for all).
func (s *shop) list(status Status, limit int) []Order {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count("list_orders")
	found := []Order{}
	for _, o := range s.orders {
		if (status == "" || o.Status == status) && (limit == 0 || len(found) < limit) {
			found = append(found, o)
		}
	}
	return found
}

var errNoOrder = errors.New("there is no such order")

func (s *shop) find(id string) (Order, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.orders {
		if o.ID == id {
			return o, nil
		}
	}
	return Order{}, fmt.Errorf("order %q: %w", id, errNoOrder)
}

func (s *shop) update(id string, status Status, note string) (Order, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count("update_order")
	for i := range s.orders {
		o := &s.orders[i]
		if o.ID != id {
			continue
		}
		if status != "" {
			o.Status = status
		}
		if note != "" {
			o.Note = note
		}
		return *o, nil
	}
	return Order{}, fmt.Errorf("order %q: %w", id, errNoOrder)
}

// remove deletes all the orders or, if one is not there, none.
func (s *shop) remove(ids []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count("delete_orders")
	var missing []string
	for _, id := range ids {
		if !slices.ContainsFunc(s.orders, func(o Order) bool { return o.ID == id }) {
			missing = append(missing, id)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("orders %s: %w; nothing was deleted", strings.Join(missing, ", "), errNoOrder)
	}
	s.orders = slices.DeleteFunc(s.orders, func(o Order) bool { return slices.Contains(ids, o.ID) })
	return nil
}

func (s *shop) executed(tool string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.executions[tool]
}

func (s *shop) size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.orders)
}
