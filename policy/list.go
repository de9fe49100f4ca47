package policy

import (
	"iter"
	"time"
)

// Visible goes through what is listed for the principal, of one kind and in order.
func (ix *Index) Visible(serverName string, kind Kind, p *Principal, now time.Time) iter.Seq[*Tool] {
	return func(yield func(*Tool) bool) {
		s := ix.servers[serverName]
		if s == nil || s.State != Active {
			return
		}
		c := ix.terms.resolve(p, nil)
		q := question{request: Request{Server: serverName, Kind: kind, Principal: p, Now: now}, listing: true}
		for i := range s.Tools {
			if s.Tools[i].Kind != kind || !ix.decide(s, i, &c, &q).Listed() {
				continue
			}
			if !yield(&s.Tools[i]) {
				return
			}
		}
	}
}

// Granted reports whether a grant would let the principal have what r asks for, with some arguments and were nothing
// else in the way. A caller without one is not told why else it is refused: to them it does not exist.
func (ix *Index) Granted(r Request) bool {
	s := ix.servers[r.Server]
	if s == nil || r.Principal == nil {
		return false
	}
	var groups [32]term
	c := ix.terms.resolve(r.Principal, groups[:0])
	q := question{request: r, listing: true}
	if i, ok := s.offers(r.Kind)[r.Name]; ok {
		return ix.grantFor(s, i, &c, &q) >= 0
	}
	if r.Kind != KindResource {
		return false
	}
	for _, t := range s.templates {
		if t.pattern.MatchString(r.Name) && ix.grantFor(s, t.tool, &c, &q) >= 0 {
			return true
		}
	}
	return false
}
