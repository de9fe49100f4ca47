package gateway

// reservation is room for one call in the buckets that count it; nil is that of a call which nothing counts. It ends
// with release, when the call does not run, or with charge when it runs and settle when that is over.
type reservation struct {
	limits  *limits
	request int // tokens of the request
	taken   []taken
}

// taken is what is reserved in one bucket.
type taken struct {
	*bucket
	key   bucketKey
	units int
}

// charge counts the call by the rate limits: it runs. Its tokens stay reserved.
func (r *reservation) charge() {
	r.each(false, func(t *taken) {
		t.use(t.units, r.limits.now())
		t.giveBack()
	})
}

// spend uses tokens of the budgets beside those that are reserved: part of the result passes. That may be after the
// call was settled, on a stream that was resumed, and a bucket may have been forgotten by then.
func (r *reservation) spend(tokens int) {
	r.each(true, func(t *taken) {
		b := r.limits.buckets[t.key]
		if b == nil {
			b = t.bucket
			r.limits.buckets[t.key] = b
		}
		b.use(tokens, r.limits.now())
	})
}

// settle ends the call. The tokens of a request that was never sent are given back.
func (r *reservation) settle(sent bool) {
	r.each(true, func(t *taken) {
		if sent && t.units > 0 {
			t.use(r.request, r.limits.now())
		}
		t.giveBack()
	})
}

// release gives everything back: the call does not run.
func (r *reservation) release() {
	if r == nil {
		return
	}
	r.limits.mu.Lock()
	defer r.limits.mu.Unlock()
	r.giveBack()
}

// each goes through what is taken of tokens, or of calls.
func (r *reservation) each(tokens bool, do func(*taken)) {
	if r == nil {
		return
	}
	r.limits.mu.Lock()
	defer r.limits.mu.Unlock()
	for i := range r.taken {
		if r.taken[i].key.tokens == tokens {
			do(&r.taken[i])
		}
	}
}

func (r *reservation) giveBack() {
	for i := range r.taken {
		r.taken[i].giveBack()
	}
}

// giveBack ends the reservation in the bucket, once.
func (t *taken) giveBack() {
	t.reserved -= t.units
	t.units = 0
}
