package web

import (
	"fmt"
	"math"
	"time"
)

// figure is one number, and what is said about it, line by line.
type figure struct {
	name, value string
	notes       []string
}

// usageFigures are the numbers of a span; before is the span of the same length before it, if that is known.
func usageFigures(now UsageTotals, before *UsageTotals) []figure {
	return []figure{
		callsFigure(now, before), deniedFigure(now, before), errorsFigure(now, before), costFigure(now, before),
		tokensFigure("Tokens read", "in results", before, func(t UsageTotals) int64 { return t.TokensRead }, now),
		tokensFigure("Tokens written", "in arguments", before, func(t UsageTotals) int64 { return t.TokensWritten }, now),
		latencyFigure("Added to half of calls", now, before, func(t UsageTotals) time.Duration { return t.AddedP50 }),
		latencyFigure("Added to 95 of 100", now, before, func(t UsageTotals) time.Duration { return t.AddedP95 }),
	}
}

// trafficFigures are those of one server.
func trafficFigures(now UsageTotals, before *UsageTotals) []figure {
	return []figure{
		callsFigure(now, before), deniedFigure(now, before), errorsFigure(now, before),
		latencyFigure("Answered, half of calls", now, before, func(t UsageTotals) time.Duration { return t.TookP50 }),
	}
}

func callsFigure(now UsageTotals, before *UsageTotals) figure {
	f := figure{name: "Calls", value: NumberWords(int64(now.All()))}
	if before != nil {
		f.notes = append(f.notes, changeWords(int64(now.All()), int64(before.All())))
	}
	return f
}

func deniedFigure(now UsageTotals, before *UsageTotals) figure {
	f := figure{name: "Denied", value: shareWords(now.Denied, now.All()), notes: []string{plural(now.Denied, "call", "calls")}}
	if before != nil && before.All() > 0 {
		f.notes = append(f.notes, shareWords(before.Denied, before.All())+" before")
	}
	return f
}

func errorsFigure(now UsageTotals, before *UsageTotals) figure {
	wrong := func(t UsageTotals) int { return t.Errors + t.Failed }
	f := figure{name: "Errors", value: shareWords(wrong(now), now.All()), notes: []string{fmt.Sprintf("%d of servers, %d without an answer", now.Errors, now.Failed)}}
	if before != nil && before.All() > 0 {
		f.notes = append(f.notes, shareWords(wrong(*before), before.All())+" before")
	}
	return f
}

// costFigure never says 0 for what is not known.
func costFigure(now UsageTotals, before *UsageTotals) figure {
	f := figure{name: "Cost", value: now.Cost}
	switch {
	case now.Cost == "" && now.Unpriced == 0:
		f.value, f.notes = "–", []string{"no tokens were counted"}
	case now.Cost == "":
		f.value, f.notes = "Not priced", []string{"its models have no price"}
	case now.Unpriced > 0:
		f.notes = []string{fmt.Sprintf("and %s tokens not priced", shortNumber(float64(now.Unpriced)))}
	}
	if before != nil && before.Cost != "" {
		f.notes = append(f.notes, before.Cost+" before")
	}
	return f
}

func tokensFigure(name, where string, before *UsageTotals, of func(UsageTotals) int64, now UsageTotals) figure {
	f := figure{name: name, value: shortNumber(float64(of(now))), notes: []string{where}}
	if before != nil {
		f.notes = append(f.notes, changeWords(of(now), of(*before)))
	}
	return f
}

func latencyFigure(name string, now UsageTotals, before *UsageTotals, of func(UsageTotals) time.Duration) figure {
	f := figure{name: name, value: latencyWords(of(now))}
	if of(now) > 0 {
		f.value = "≈ " + f.value
	} else {
		f.notes = append(f.notes, "nothing was measured")
	}
	if before != nil && of(*before) > 0 {
		f.notes = append(f.notes, "≈ "+latencyWords(of(*before))+" before")
	}
	return f
}

// changeWords compares a number with that of the span before.
func changeWords(now, before int64) string {
	if before == 0 {
		if now == 0 {
			return "as before"
		}
		return "none before"
	}
	change := 100 * (float64(now) - float64(before)) / float64(before)
	switch {
	case math.Abs(change) < .5:
		return "as before"
	case change >= 100:
		return fmt.Sprintf("%s times as many as before", threeDigits(math.Round(10*float64(now)/float64(before))/10))
	case change > 0:
		return fmt.Sprintf("%.0f %% more than before", change)
	}
	return fmt.Sprintf("%.0f %% fewer than before", -change)
}

// shareWords is a part in percent, as exactly as matters.
func shareWords(n, of int) string {
	if of == 0 {
		return "0 %"
	}
	part := 100 * float64(n) / float64(of)
	if part > 0 && part < .1 {
		return "< 0.1 %"
	}
	return threeDigits(float64(int(part*10+.5))/10) + " %"
}

// Money is an amount of millionths of a currency as people read it: 1,204.12 EUR. What is there is never said to be 0.
func Money(micros int64, currency string) string {
	if micros > 0 && micros < 10_000 {
		return "< 0.01 " + currency
	}
	cents := (micros + 5_000) / 10_000
	return fmt.Sprintf("%s.%02d %s", NumberWords(cents/100), cents%100, currency)
}
