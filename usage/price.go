package usage

import (
	"cmp"
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
	"countersign/policy"
)

// Price is what models cost whose name a glob matches; of several the longest counts. Costs are computed when they are
// read: a new price counts for the past as well.
//
//	SetPrice ──▶ in force ── ChangePrice ──▶ in force ── EndPrice ──▶ ended
type Price struct {
	ID            string
	Model         string // a glob with *
	Currency      string // three letters, as EUR
	InputMicros   int64  // for a million tokens that the model reads, in millionths
	OutputMicros  int64  // for a million that it writes
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
}

const selectPrices = `
	select r.id, r.model, r.currency, r.input_micros, r.output_micros, r.version, r.created_by, coalesce(p.name, r.created_by) as created_by_name,
	       r.created_at, r.changed_at, r.ended_at
	from model_prices r left join people p on p.id = r.created_by `

// Prices lists the prices in force by model. It needs identity.ReadUsage.
func (l *Ledger) Prices(ctx context.Context, who identity.Principal) ([]Price, error) {
	if err := who.Can(identity.ReadUsage, ""); err != nil {
		return nil, err
	}
	rows, _ := l.pool.Query(ctx, selectPrices+`where r.ended_at is null order by lower(r.model), r.id limit $1`, maxPrices)
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
// Problems: Invalid invalid_price, with the fields model, currency, input and output; Conflict price_exists, too_many_prices.
func (l *Ledger) SetPrice(ctx context.Context, who identity.Principal, n NewPrice) (Price, error) {
	if err := who.Can(identity.ChangePrice, ""); err != nil {
		return Price{}, err
	}
	input, output, err := n.clean()
	if err != nil {
		return Price{}, err
	}
	var id string
	err = postgres.InTx(ctx, l.pool, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `
			insert into model_prices (model, currency, input_micros, output_micros, created_by)
			select @model, @currency, @input, @output, @by
			where (select count(*) from model_prices where ended_at is null) < @most
			returning id`,
			pgx.StrictNamedArgs{"model": n.Model, "currency": n.Currency, "input": input, "output": output, "by": who.ID, "most": maxPrices}).Scan(&id)
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
	input, output, err := n.clean()
	if err != nil {
		return Price{}, err
	}
	err = postgres.InTx(ctx, l.pool, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			update model_prices set model = @model, currency = @currency, input_micros = @input, output_micros = @output,
			       version = version + 1, changed_at = clock_timestamp()
			where id = @id and version = @version and ended_at is null`,
			pgx.StrictNamedArgs{"id": id, "version": version, "model": n.Model, "currency": n.Currency, "input": input, "output": output})
		if err != nil {
			return priceProblem(err)
		}
		if tag.RowsAffected() == 0 {
			return priceChanged()
		}
		detail := n.said()
		detail["before"] = NewPrice{was.Model, was.Currency, was.Input(), was.Output()}.said()
		return audit.Append(ctx, tx, priceEvent("price.changed", who, id, n.Model, detail))
	})
	if err != nil {
		return Price{}, err
	}
	return l.Price(ctx, system, id)
}

// EndPrice takes a price away: what its models cost is then not known. version is the Version that the reader saw. It
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
		return audit.Append(ctx, tx, priceEvent("price.ended", who, id, was.Model, NewPrice{was.Model, was.Currency, was.Input(), was.Output()}.said()))
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

func (n *NewPrice) clean() (input, output int64, err error) {
	n.Model, n.Currency = strings.TrimSpace(n.Model), strings.ToUpper(strings.TrimSpace(n.Currency))
	n.Input, n.Output = strings.TrimSpace(n.Input), strings.TrimSpace(n.Output)
	invalid := problem.New(problem.Invalid, "invalid_price", "The price was not saved. Nothing was changed.")
	if !modelForm.MatchString(n.Model) {
		invalid.Field("model", "Name a model, with * for any part of it: 1 to 200 printable characters without spaces.")
	}
	if !currencyForm.MatchString(n.Currency) {
		invalid.Field("currency", "Say a currency by its three letters, as EUR.")
	}
	const form = "Say a number from 0 to 999999 with at most six decimals, as 2.50: for a million tokens."
	var ok bool
	if input, ok = readDecimal(n.Input); !ok {
		invalid.Field("input", form)
	}
	if output, ok = readDecimal(n.Output); !ok {
		invalid.Field("output", form)
	}
	if len(invalid.Fields) > 0 {
		return 0, 0, invalid
	}
	return input, output, nil
}

func (n NewPrice) said() map[string]any {
	return map[string]any{"model": n.Model, "currency": n.Currency, "input": n.Input, "output": n.Output}
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
		return problem.New(problem.Conflict, "price_exists", "There is a price for this model already. Nothing was changed.").
			Field("model", "There is a price for this model already.")
	case errors.Is(err, pgx.ErrNoRows):
		return problem.New(problem.Conflict, "too_many_prices", "There are %d prices. End some, or use * in names. Nothing was changed.", maxPrices)
	}
	return fmt.Errorf("saving a price: %w", err)
}

// priceList are the prices in force, the one that counts first before the others that match.
type priceList []Price

func newPriceList(prices []Price) priceList {
	list := slices.Clone(prices)
	slices.SortStableFunc(list, func(a, b Price) int {
		return cmp.Or(cmp.Compare(len(strings.ReplaceAll(b.Model, "*", "")), len(strings.ReplaceAll(a.Model, "*", ""))), cmp.Compare(a.Model, b.Model))
	})
	return list
}

// of gives the price of a model. A call whose model nobody knows has none.
func (l priceList) of(model string) (Price, bool) {
	if model == "" || model == Other {
		return Price{}, false
	}
	for _, p := range l {
		if policy.Glob(strings.ToLower(p.Model), strings.ToLower(model)) {
			return p, true
		}
	}
	return Price{}, false
}

// priceList reads the prices in force.
func (l *Ledger) priceList(ctx context.Context) (priceList, error) {
	prices, err := l.Prices(ctx, system)
	return newPriceList(prices), err
}

// UnpricedModels gives the models of calls of the last 30 days that no price matches, the most used first, at most 100.
// It needs identity.ReadUsage.
func (l *Ledger) UnpricedModels(ctx context.Context, who identity.Principal) ([]string, error) {
	if err := who.Can(identity.ReadUsage, ""); err != nil {
		return nil, err
	}
	prices, err := l.priceList(ctx)
	if err != nil {
		return nil, err
	}
	rows, _ := l.pool.Query(ctx, `
		select model from usage_days
		where at >= clock_timestamp() - interval '30 days' and model not in ('', $1)
		group by model order by sum(calls) desc, model limit 1000`, Other)
	models, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("listing models: %w", err)
	}
	models = slices.DeleteFunc(models, func(m string) bool { _, priced := prices.of(m); return priced })
	return models[:min(len(models), 100)], nil
}
