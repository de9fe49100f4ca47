package server

import (
	"mime"
	"slices"
	"strconv"
	"strings"
)

// negotiate gives the one of offers that an Accept wants most (RFC 9110 section 12.5.1), the earlier of equals, and ""
// when it wants none of them. No Accept wants all.
func negotiate(accept []string, offers ...string) string {
	if len(accept) == 1 && slices.Contains(offers, accept[0]) { // what a gateway sends
		return accept[0]
	}
	ranges := mediaRanges(accept)
	if len(ranges) == 0 {
		return offers[0]
	}
	best, most := "", 0.0
	for _, offer := range offers {
		if q := quality(ranges, offer); q > most {
			best, most = offer, q
		}
	}
	return best
}

// mediaRange is one element of an Accept.
type mediaRange struct {
	media  string // a/b, a/* or */*
	params map[string]string
	q      float64
}

// maxRanges is more than any client has reason to say.
const maxRanges = 100

func mediaRanges(values []string) []mediaRange {
	var ranges []mediaRange
	for _, value := range values {
		for part := range strings.SplitSeq(value, ",") {
			media, params, err := mime.ParseMediaType(part)
			if err != nil || len(ranges) == maxRanges {
				continue
			}
			r := mediaRange{media: media, params: params, q: 1}
			if text, said := params["q"]; said {
				if r.q, err = strconv.ParseFloat(text, 64); err != nil {
					continue
				}
				delete(params, "q")
			}
			ranges = append(ranges, r)
		}
	}
	return ranges
}

// quality is what the most specific range says of an offer.
func quality(ranges []mediaRange, offer string) float64 {
	media, params, _ := mime.ParseMediaType(offer)
	q, closest := 0.0, -1
	for _, r := range ranges {
		if s := r.specificity(media, params); s > closest {
			q, closest = r.q, s
		}
	}
	return q
}

// specificity is -1 when the range does not hold the type.
func (r mediaRange) specificity(media string, params map[string]string) int {
	family, _, _ := strings.Cut(media, "/")
	switch r.media {
	case "*/*":
		return 0
	case family + "/*":
		return 1
	case media:
	default:
		return -1
	}
	for name, value := range r.params {
		if params[name] != value {
			return -1
		}
	}
	return 2 + len(r.params)
}
