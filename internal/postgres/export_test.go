package postgres

import "time"

// SetTick changes how often the hub wakes everybody, before Run.
func (h *Hub) SetTick(d time.Duration) { h.tick = d }
