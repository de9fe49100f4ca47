package client

import (
	"encoding/json"
	"errors"
	"strings"

	"countersign/canonical"
	"countersign/policy"
)

// confirmationArgument is the argument in which a client carries the confirmation token that a person was shown.
const confirmationArgument = "confirmation_token"

var errNoToken = errors.New("confirmation_token is no confirmation token; leave it out until you are given one")

// carried reads the arguments of a call: their canonical form without a confirmation token, and the token. What is given
// as one and has not its form is refused: it would otherwise be an argument that people are asked to approve.
func carried(raw json.RawMessage) (arguments json.RawMessage, token string, err error) {
	whole, err := canonical.Arguments(raw)
	if err != nil {
		return nil, "", err
	}
	arguments = policy.WithoutToken(whole)
	members, err := canonical.Fields(whole, confirmationArgument)
	if err != nil {
		return nil, "", err
	}
	value, there := canonical.Lookup(members, confirmationArgument)
	if !there {
		return arguments, "", nil
	}
	left, err := canonical.Fields(arguments, confirmationArgument)
	if err != nil {
		return nil, "", err
	}
	if _, still := canonical.Lookup(left, confirmationArgument); still {
		return nil, "", errNoToken
	}
	token, _ = canonical.Text(value)
	return arguments, token, nil
}

// argumentsProblem says what is wrong with arguments without repeating them.
func argumentsProblem(err error) string {
	if e := (*canonical.Error)(nil); errors.As(err, &e) {
		return "they cannot be read in exactly one way: " + strings.TrimSuffix(e.Error(), ".")
	}
	return err.Error()
}
