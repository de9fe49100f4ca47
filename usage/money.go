package usage

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// Money is an amount in millionths of a currency.
type Money struct {
	Currency string
	Micros   int64
}

// String is the amount as people write it, with at least two decimals: "12.50 EUR".
func (m Money) String() string { return decimal(m.Micros) + " " + m.Currency }

// Amount is String without the currency.
func (m Money) Amount() string { return decimal(m.Micros) }

// Cost is what calls cost, at the prices of the days on which they were made, as those are when it is read.
type Cost struct {
	Amounts  []Money // by currency
	Unpriced int64   // tokens whose model has no price: what they cost is not known
}

// Priced says whether any of it is known.
func (c Cost) Priced() bool { return len(c.Amounts) > 0 }

// In gives the amount in a currency.
func (c Cost) In(currency string) Money {
	for _, m := range c.Amounts {
		if m.Currency == currency {
			return m
		}
	}
	return Money{Currency: currency}
}

// costs adds up exactly: millionths of a currency for a million tokens, times tokens.
type costs struct {
	amounts  map[string]*big.Int
	unpriced int64
}

func (c *costs) add(prices priceList, model string, request, response int64) {
	if request+response == 0 {
		return
	}
	p, known := prices.of(model)
	if !known {
		c.unpriced += request + response
		return
	}
	sum := c.in(p.Currency)
	sum.Add(sum, new(big.Int).Mul(big.NewInt(request), big.NewInt(p.OutputMicros)))
	sum.Add(sum, new(big.Int).Mul(big.NewInt(response), big.NewInt(p.InputMicros)))
}

func (c *costs) in(currency string) *big.Int {
	if c.amounts == nil {
		c.amounts = map[string]*big.Int{}
	}
	if c.amounts[currency] == nil {
		c.amounts[currency] = &big.Int{}
	}
	return c.amounts[currency]
}

// less takes away what was added before; a currency of which nothing is left is gone.
func (c *costs) less(other *costs) {
	c.unpriced -= other.unpriced
	for currency, amount := range other.amounts {
		if left := c.in(currency); left.Sub(left, amount).Sign() == 0 {
			delete(c.amounts, currency)
		}
	}
}

var million = big.NewInt(1_000_000)

func (c *costs) cost() Cost {
	out := Cost{Unpriced: c.unpriced}
	for _, currency := range slices.Sorted(maps.Keys(c.amounts)) {
		half := big.NewInt(500_000) // rounds to the nearest
		micros := new(big.Int).Div(half.Add(half, c.amounts[currency]), million)
		if !micros.IsInt64() {
			micros.SetInt64(1<<63 - 1)
		}
		out.Amounts = append(out.Amounts, Money{currency, micros.Int64()})
	}
	return out
}

// decimal is millionths as people write them, with two to six decimals.
func decimal(micros int64) string {
	text := fmt.Sprintf("%d.%06d", micros/1_000_000, micros%1_000_000)
	point := strings.IndexByte(text, '.')
	end := len(text)
	for end > point+3 && text[end-1] == '0' {
		end--
	}
	return text[:end]
}

// readDecimal reads a decimal number of at most six decimals into millionths, exactly.
func readDecimal(s string) (micros int64, ok bool) {
	whole, rest, _ := strings.Cut(s, ".")
	digits := func(s string) bool { return strings.Trim(s, "0123456789") == "" }
	if whole == "" || len(whole) > 6 || len(rest) > 6 || !digits(whole) || !digits(rest) || strings.HasSuffix(s, ".") {
		return 0, false
	}
	micros, err := strconv.ParseInt(whole+rest+strings.Repeat("0", 6-len(rest)), 10, 64)
	return micros, err == nil
}
