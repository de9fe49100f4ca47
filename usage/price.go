package usage

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
)

// Price is what models cost whose name a glob matches, from a day on until the next price of the same glob; of several
// globs that match at a time the longest counts. Costs are computed when they are read: to change a price corrects it, for
// as long as it counted, and a price that is new from a day on leaves the days before as they are.
//
//	SetPrice ──▶ kept ── ChangePrice ──▶ kept ── EndPrice ──▶ ended: as if it had never been
type Price struct {
	ID            string
	Model         string    // a glob with *
	ValidFrom     time.Time // a day of UTC; zero: it counts for all the time before as well
	Currency      string    // three letters, as EUR
	InputMicros   int64     // for a million tokens that the model reads, in millionths
	OutputMicros  int64     // for a million that it writes
	Version       int64
	CreatedBy     string
	CreatedByName string
	CreatedAt     time.Time
	ChangedAt     time.Time
	EndedAt       *time.Time
}

// Input is the price of what the model reads, as people write it.
func (p Price) Input() string { return decimal(p.InputMicros) }

// Output is the price of what it writes, as people write it.
func (p Price) Output() string { return decimal(p.OutputMicros) }

// NewPrice is what SetPrice needs.
type NewPrice struct {
	Model    string
	Currency string
	Input    string // decimal, for a million tokens; at most six decimals
	Output   string
	From     string // the first day for which it counts, as 2026-11-22, in UTC; "": always
}

const selectPrices = `
	select r.id, r.model, r.valid_from, r.currency, r.input_micros, r.output_micros, r.version, r.created_by, coalesce(p.name, r.created_by) as created_by_name,
	       r.created_at, r.changed_at, r.ended_at
	from model_prices r left join people p on p.id = r.created_by `

// Prices lists the prices by model, the oldest first. It needs identity.ReadUsage.
func (l *Ledger) Prices(ctx context.Context, who identity.Principal) ([]Price, error) {
	if err := who.Can(identity.ReadUsage, ""); err != nil {
		return nil, err
	}
	rows, _ := l.pool.Query(ctx, selectPrices+`where r.ended_at is null order by lower(r.model), r.valid_from, r.id limit $1`, maxPrices)
	prices, err := pgx.CollectRows(rows, pgx.RowToStructByName[Price])
	if err != nil {
		return nil, fmt.Errorf("listing prices: %w", err)
	}
	return prices, nil
}

// Price reads a price, ended or not. It needs identity.ReadUsage. Problem: NotFound no_such_price.
func (l *Ledger) Price(ctx context.Context, who identity.Principal, id string) (Price, error) {
	if err := who.Can(identity.ReadUsage, ""); err != nil {
		return Price{}, err
	}
	rows, _ := l.pool.Query(ctx, selectPrices+`where r.id = $1`, id)
	return one(rows, pgx.RowToStructByName[Price], "reading a price", problem.New(problem.NotFound, "no_such_price", "There is no such price."))
}

// SetPrice says what models cost. It needs identity.ChangePrice.
//
// Problems: Invalid invalid_price, with the fields model, currency, input, output and from; Conflict price_exists,
// too_many_prices.
func (l *Ledger) SetPrice(ctx context.Context, who identity.Principal, n NewPrice) (Price, error) {
	if err := who.Can(identity.ChangePrice, ""); err != nil {
		return Price{}, err
	}
	in, err := n.clean()
	if err != nil {
		return Price{}, err
	}
	var id string
	args := in.args()
	args["by"], args["most"] = who.ID, maxPrices
	err = postgres.InTx(ctx, l.pool, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `
			insert into model_prices (model, valid_from, currency, input_micros, output_micros, created_by)
			select @model, @from, @currency, @input, @output, @by
			where (select count(*) from model_prices where ended_at is null) < @most
			returning id`, args).Scan(&id)
		if err != nil {
			return priceProblem(err)
		}
		return audit.Append(ctx, tx, priceEvent("price.set", who, id, n.Model, n.said()))
	})
	if err != nil {
		return Price{}, err
	}
	return l.Price(ctx, system, id)
}

// ChangePrice makes a price what n says. version is the Version that the reader saw. It needs identity.ChangePrice.
//
// Problems: NotFound no_such_price; Conflict price_changed; and those of SetPrice.
func (l *Ledger) ChangePrice(ctx context.Context, who identity.Principal, id string, version int64, n NewPrice) (Price, error) {
	if err := who.Can(identity.ChangePrice, ""); err != nil {
		return Price{}, err
	}
	was, err := l.Price(ctx, system, id)
	if err != nil {
		return Price{}, err
	}
	in, err := n.clean()
	if err != nil {
		return Price{}, err
	}
	args := in.args()
	args["id"], args["version"] = id, version
	err = postgres.InTx(ctx, l.pool, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			update model_prices set model = @model, valid_from = @from, currency = @currency, input_micros = @input, output_micros = @output,
			       version = version + 1, changed_at = clock_timestamp()
			where id = @id and version = @version and ended_at is null`, args)
		if err != nil {
			return priceProblem(err)
		}
		if tag.RowsAffected() == 0 {
			return priceChanged()
		}
		detail := n.said()
		detail["before"] = was.said()
		return audit.Append(ctx, tx, priceEvent("price.changed", who, id, n.Model, detail))
	})
	if err != nil {
		return Price{}, err
	}
	return l.Price(ctx, system, id)
}

// EndPrice takes a price away, for the past as well: what its models cost is then not known, or what the price before it
// says. version is the Version that the reader saw. It
// needs identity.ChangePrice. Problems: NotFound no_such_price; Conflict price_changed.
func (l *Ledger) EndPrice(ctx context.Context, who identity.Principal, id string, version int64) (Price, error) {
	if err := who.Can(identity.ChangePrice, ""); err != nil {
		return Price{}, err
	}
	was, err := l.Price(ctx, system, id)
	if err != nil {
		return Price{}, err
	}
	err = postgres.InTx(ctx, l.pool, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			update model_prices set ended_at = clock_timestamp(), ended_by = @by, version = version + 1, changed_at = clock_timestamp()
			where id = @id and version = @version and ended_at is null`,
			pgx.StrictNamedArgs{"id": id, "version": version, "by": who.ID})
		if err != nil {
			return fmt.Errorf("ending a price: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return priceChanged()
		}
		return audit.Append(ctx, tx, priceEvent("price.ended", who, id, was.Model, was.said()))
	})
	if err != nil {
		return Price{}, err
	}
	return l.Price(ctx, system, id)
}

const maxPrices = 500

var (
	currencyForm = regexp.MustCompile(`^[A-Z]{3}$`)
	modelForm    = regexp.MustCompile(`^[!-~]{1,200}$`)
)

// meant is a NewPrice that was read.
type meant struct {
	model, currency string
	from            time.Time
	input, output   int64
}

func (m meant) args() pgx.StrictNamedArgs {
	return pgx.StrictNamedArgs{"model": m.model, "from": m.from, "currency": m.currency, "input": m.input, "output": m.output}
}

func (n *NewPrice) clean() (m meant, err error) {
	for _, text := range []*string{&n.Model, &n.Currency, &n.Input, &n.Output, &n.From} {
		*text = strings.TrimSpace(*text)
	}
	n.Currency = strings.ToUpper(n.Currency)
	m.model, m.currency = n.Model, n.Currency
	invalid := problem.New(problem.Invalid, "invalid_price", "The price was not saved. Nothing was changed.")
	if !modelForm.MatchString(n.Model) {
		invalid.Field("model", "Name a model, with * for any part of it: 1 to 200 printable characters without spaces.")
	}
	if !currencyForm.MatchString(n.Currency) {
		invalid.Field("currency", "Say a currency by its three letters, as EUR.")
	}
	const form = "Say a number from 0 to 999999 with at most six decimals, as 2.50: for a million tokens."
	var ok bool
	if m.input, ok = readDecimal(n.Input); !ok {
		invalid.Field("input", form)
	}
	if m.output, ok = readDecimal(n.Output); !ok {
		invalid.Field("output", form)
	}
	if n.From != "" {
		if m.from, err = time.Parse(time.DateOnly, n.From); err != nil || m.from.Year() < 2000 || m.from.Year() > 2200 {
			invalid.Field("from", "Write a day as 2026-11-22, or nothing: then the price counts for all the time before as well.")
		}
	}
	if len(invalid.Fields) > 0 {
		return meant{}, invalid
	}
	return m, nil
}

func (n NewPrice) said() map[string]any {
	return map[string]any{"model": n.Model, "currency": n.Currency, "input": n.Input, "output": n.Output, "from": n.From}
}

// From is the day from which a price counts, as people write it; "": always.
func (p Price) From() string {
	if p.ValidFrom.IsZero() {
		return ""
	}
	return p.ValidFrom.Format(time.DateOnly)
}

func (p Price) said() map[string]any {
	return NewPrice{Model: p.Model, Currency: p.Currency, Input: p.Input(), Output: p.Output(), From: p.From()}.said()
}

func priceEvent(kind string, who identity.Principal, id, model string, detail map[string]any) audit.Event {
	return audit.Event{Kind: kind, Who: who, TargetKind: "price", TargetID: id, TargetName: model, Detail: detail}
}

func priceChanged() *problem.Error {
	return problem.New(problem.Conflict, "price_changed", "Somebody changed or ended this price while you looked at it. Nothing was changed by you.")
}

func priceProblem(err error) error {
	switch {
	case postgres.Constraint(err) == "model_prices_one":
		return problem.New(problem.Conflict, "price_exists", "There is a price for this model from that day on already. Nothing was changed.").
			Field("from", "There is a price for this model from that day on already. Change it, or say another day.")
	case errors.Is(err, pgx.ErrNoRows):
		return problem.New(problem.Conflict, "too_many_prices", "There are %d prices. End some, or use * in names. Nothing was changed.", maxPrices)
	}
	return fmt.Errorf("saving a price: %w", err)
}

// UnpricedModels gives the models of calls of the last 30 days that no price matched, the most used first, at most 100.
// It needs identity.ReadUsage.
func (l *Ledger) UnpricedModels(ctx context.Context, who identity.Principal) ([]string, error) {
	if err := who.Can(identity.ReadUsage, ""); err != nil {
		return nil, err
	}
	all, err := l.Prices(ctx, system)
	if err != nil {
		return nil, err
	}
	s, err := l.span(Filter{})
	if err != nil {
		return nil, err
	}
	prices, w := newTariff(all, s), Filter{}.sums(s, "")
	w.args["other"] = Other
	w.conditions = append(w.conditions, "model not in ('', @other)")
	rows, _ := l.pool.Query(ctx, `select model, `+prices.era(w)+` as era`+w.from()+`group by 1, 2 order by sum(calls) desc, 1 limit 1000`, w.args)
	type used struct {
		Model string
		Era   int
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[used])
	if err != nil {
		return nil, fmt.Errorf("listing models: %w", err)
	}
	var models []string
	for _, u := range found {
		if _, priced := prices.at(u.Era).of(u.Model); !priced && !slices.Contains(models, u.Model) {
			models = append(models, u.Model)
		}
	}
	return models[:min(len(models), 100)], nil
}
