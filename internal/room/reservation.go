package room

// Reservation is room for one call in the buckets that count it; nil is that of a call which nothing counts. It ends
// with Release, when the call does not run, or with Charge when it runs and Settle when that is over.
type Reservation struct {
	rooms   *Rooms
	request int // tokens of the request
	taken   []taken
}

// taken is what is reserved in one bucket.
type taken struct {
	*bucket
	key   bucketKey
	units int
}

// Charge counts the call by the rate limits: it runs. Its tokens stay reserved.
func (r *Reservation) Charge() {
	r.each(false, func(t *taken) {
		t.use(t.units, r.rooms.now())
		t.giveBack()
	})
}

// Spend uses tokens of the budgets beside those that are reserved: part of the result passes. That may be after the
// call was settled, on a stream that was resumed, and a bucket may have been forgotten by then.
func (r *Reservation) Spend(tokens int) {
	r.each(true, func(t *taken) {
		b := r.rooms.buckets[t.key]
		if b == nil {
			b = t.bucket
			r.rooms.buckets[t.key] = b
		}
		b.use(tokens, r.rooms.now())
	})
}

// Settle ends the call. The tokens of a request that was never sent are given back.
func (r *Reservation) Settle(sent bool) {
	r.each(true, func(t *taken) {
		if sent && t.units > 0 {
			t.use(r.request, r.rooms.now())
		}
		t.giveBack()
	})
}

// Release gives everything back: the call does not run.
func (r *Reservation) Release() {
	if r == nil {
		return
	}
	r.rooms.mu.Lock()
	defer r.rooms.mu.Unlock()
	r.giveBack()
}

// each goes through what is taken of tokens, or of calls.
func (r *Reservation) each(tokens bool, do func(*taken)) {
	if r == nil {
		return
	}
	r.rooms.mu.Lock()
	defer r.rooms.mu.Unlock()
	for i := range r.taken {
		if r.taken[i].key.tokens == tokens {
			do(&r.taken[i])
		}
	}
}

func (r *Reservation) giveBack() {
	for i := range r.taken {
		r.taken[i].giveBack()
	}
}

// giveBack ends the reservation in the bucket, once.
func (t *taken) giveBack() {
	t.reserved -= t.units
	t.units = 0
}
