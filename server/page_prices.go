package server

import (
	"net/http"
	"net/url"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/usage"
	"countersign/web"
)

func (s *Server) pricesPage(c echo.Context, who identity.Principal) error {
	return s.showPrices(c, who, http.StatusOK, web.PriceForm{Model: c.QueryParam("model")})
}

// showPrices lists prices. typed is what stands in a form: that of the price with its id, or the one for a new one.
func (s *Server) showPrices(c echo.Context, who identity.Principal, status int, typed web.PriceForm) error {
	ctx := c.Request().Context()
	prices, err := s.usage.Prices(ctx, who)
	if err != nil {
		return err
	}
	unpriced, err := s.usage.UnpricedModels(ctx, who)
	if err != nil {
		return err
	}
	view := web.Prices{May: who.Can(identity.ChangePrice, "") == nil}
	for _, p := range prices {
		form := web.PriceForm{ID: p.ID, Model: p.Model, Currency: p.Currency, Input: p.Input(), Output: p.Output(), From: p.From(), Version: p.Version}
		if p.ID == typed.ID {
			form.Currency, form.Input, form.Output, form.From, form.Errors = typed.Currency, typed.Input, typed.Output, typed.From, typed.Errors
			typed = web.PriceForm{}
		}
		view.New.Currency = p.Currency // the usual one
		view.Prices = append(view.Prices, web.PriceLine{PriceForm: form, By: p.CreatedByName, ChangedAt: p.ChangedAt})
	}
	if typed.Currency == "" {
		typed.Currency = view.New.Currency
	}
	view.New = typed
	for _, m := range unpriced {
		view.Unpriced = append(view.Unpriced, web.UnpricedModel{Name: m, Address: "/usage/prices?" + url.Values{"model": {m}}.Encode() + "#new-price"})
	}
	return render(c, status, web.PricesPage(s.page(c, who, "Prices", "/usage"), view))
}

func priceOf(c echo.Context) usage.NewPrice {
	return usage.NewPrice{
		Model: c.FormValue("model"), Currency: c.FormValue("currency"), Input: c.FormValue("input"), Output: c.FormValue("output"), From: c.FormValue("from"),
	}
}

func (s *Server) setPrice(c echo.Context, who identity.Principal) error {
	price, err := s.usage.SetPrice(c.Request().Context(), who, priceOf(c))
	return s.priceSaved(c, who, price, err, "Calls of "+brief(price.Model)+" have a price now.")
}

func (s *Server) changePrice(c echo.Context, who identity.Principal) error {
	price, err := s.usage.ChangePrice(c.Request().Context(), who, c.Param("id"), version(c), priceOf(c))
	return s.priceSaved(c, who, price, err, "The price of "+brief(price.Model)+" is changed, for as long as it counts.")
}

func (s *Server) endPrice(c echo.Context, who identity.Principal) error {
	price, err := s.usage.EndPrice(c.Request().Context(), who, c.Param("id"), version(c))
	return s.priceSaved(c, who, price, err, "The price of "+brief(price.Model)+" is removed.")
}

// priceSaved says what was done, or shows the form again with what is wrong with it.
func (s *Server) priceSaved(c echo.Context, who identity.Principal, _ usage.Price, err error, words string) error {
	if err == nil {
		return s.done(c, "/usage/prices", words)
	}
	errs, status, ok := formErrors(err, nil)
	if !ok {
		return err
	}
	n := priceOf(c)
	return s.showPrices(c, who, status, web.PriceForm{ID: c.Param("id"), Model: n.Model, Currency: n.Currency, Input: n.Input, Output: n.Output, From: n.From, Errors: errs})
}
