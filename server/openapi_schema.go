package server

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"countersign/approvals"
	"countersign/canonical"
	"countersign/client"
	"countersign/delivery"
	"countersign/desired"
	"countersign/notify"
	"countersign/policy"
	"countersign/registry"
	"countersign/usage"
)

// object is a JSON object under construction.
type object = map[string]any

// schemas makes JSON schemas (2020-12) of Go types, as encoding/json writes them. Structs become components, which
// are referred to by name.
type schemas struct {
	components object
	names      map[reflect.Type]string
	own        map[string]bool // names that types of this package have: those of others step back
	closed     bool            // new components refuse members that they do not know, as our decoder does
}

func newSchemas() *schemas {
	return &schemas{components: object{}, names: map[reflect.Type]string{}, own: map[string]bool{}}
}

// known are the values of the types that have only some.
var known = map[reflect.Type][]any{
	reflect.TypeFor[policy.Kind](): values(policy.KindTool, policy.KindPrompt, policy.KindResource),
	reflect.TypeFor[usage.Kind](): values(usage.SessionRate, usage.ErrorRate, usage.Denials, usage.TokensSpent, usage.CostReached, usage.GatewaySilent,
		usage.UnknownAsked, usage.NotifierFailing),
	reflect.TypeFor[policy.Risk]():             values(policy.ReadOnly, policy.Write, policy.Destructive),
	reflect.TypeFor[registry.Transport]():      values(registry.StreamableHTTP, registry.Stdio),
	reflect.TypeFor[registry.State]():          values(registry.Proposed, registry.Active, registry.Suspended, registry.Retired),
	reflect.TypeFor[registry.DiscoveryState](): values(registry.Waiting, registry.Running, registry.Done, registry.Failed, registry.Cancelled),
	reflect.TypeFor[registry.DefinitionState](): values(
		registry.Pending, registry.Approved, registry.Rejected, registry.Superseded),
	reflect.TypeFor[policy.Assurance](): values(policy.Attested, policy.Declared, policy.Unknown),
	reflect.TypeFor[policy.Stage]():     values(policy.StageOffer, policy.StageDeny, policy.StageGrant, policy.StageOblige),
	reflect.TypeFor[policy.Ruling](): values(
		policy.RulingPass, policy.RulingDeny, policy.RulingAllow, policy.RulingHold, policy.RulingMet, policy.RulingLimit, policy.RulingMiss),
	reflect.TypeFor[delivery.ExpectedOutcome](): values(delivery.ExpectAllow, delivery.ExpectHold, delivery.ExpectDeny),
	reflect.TypeFor[delivery.Against]():         values(delivery.AgainstRevision, delivery.AgainstRegistry, delivery.AgainstDraft),
	reflect.TypeFor[delivery.Idleness]():        values(delivery.NeverUsed, delivery.Unused, delivery.Expiring),
	reflect.TypeFor[registry.GrantState]():      values(registry.GrantInForce, registry.GrantLater, registry.GrantOver, registry.GrantEnded),
	reflect.TypeFor[delivery.InstanceState](): values(
		delivery.Synced, delivery.Pending, delivery.Rejected, delivery.Offline, delivery.Stale),
	reflect.TypeFor[desired.State]():       values(desired.Active, desired.Suspended, desired.Retired),
	reflect.TypeFor[registry.ChangeKind](): values(registry.Adds, registry.Changes, registry.Ends),
	reflect.TypeFor[policy.ChangeKind](): values(
		policy.ChangeAppear, policy.ChangeVanish, policy.ChangeGain, policy.ChangeLose, policy.ChangeBegin, policy.ChangeStop, policy.ChangeRisk),
	reflect.TypeFor[notify.Kind]():      values(notify.Webhook, notify.Slack, notify.Email),
	reflect.TypeFor[notify.State]():     values(notify.Active, notify.Failing, notify.Paused, notify.Ended),
	reflect.TypeFor[client.StepState](): values(client.StepRunning, client.StepDone, client.StepFailed, client.StepSkipped),
	reflect.TypeFor[client.ApprovalState](): values(
		client.ApprovalPending, client.ApprovalApproved, client.ApprovalDenied, client.ApprovalExpired, client.ApprovalCancelled,
		client.ApprovalSuperseded, client.ApprovalRevoked, client.ApprovalClosed, client.ApprovalNotRequired),
	reflect.TypeFor[approvals.State](): values(
		approvals.Pending, approvals.Approved, approvals.Denied, approvals.Expired, approvals.Cancelled, approvals.Superseded,
		approvals.Revoked, approvals.Closed),
	reflect.TypeFor[approvals.ConfirmationState](): values(
		approvals.TokenIssued, approvals.TokenExpired, approvals.TokenRevoked, approvals.Redeemed, approvals.Succeeded, approvals.Failed, approvals.Indeterminate),
	reflect.TypeFor[approvals.AllowanceState](): values(
		approvals.AllowanceOpen, approvals.AllowanceUsedUp, approvals.AllowanceExpired, approvals.AllowanceRevoked),
	reflect.TypeFor[approvals.Decision]():   values(approvals.Approve, approvals.Deny),
	reflect.TypeFor[client.OutcomeStatus](): values(client.Succeeded, client.Failed, client.Indeterminate),
	reflect.TypeFor[client.Decision]():      values(client.AllowedCall, client.DeniedCall, client.HeldCall, client.FailedCall),
}

func values[T ~string](all ...T) []any {
	out := make([]any, 0, len(all))
	for _, v := range all {
		out = append(out, string(v))
	}
	return out
}

// of is the schema of a type: a reference for a struct, in place for everything else.
func (s *schemas) of(t reflect.Type) (object, error) {
	if t != nil && t.Kind() == reflect.Pointer {
		return s.of(t.Elem())
	}
	switch {
	case t == nil || t == reflect.TypeFor[json.RawMessage]() || t.Kind() == reflect.Interface:
		return object{}, nil
	case t == reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}, nil
	case t == reflect.TypeFor[canonical.Digest]():
		return object{"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}, nil
	case t.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return object{"type": "string"}, nil
	case t.Implements(reflect.TypeFor[json.Marshaler]()) || reflect.PointerTo(t).Implements(reflect.TypeFor[json.Marshaler]()):
		return object{"type": "object"}, nil
	}
	switch t.Kind() { //nolint:exhaustive // what is not named has no JSON, or none that we send
	case reflect.String:
		schema := object{"type": "string"}
		if all := known[t]; len(all) > 0 {
			schema["enum"] = all
		}
		return schema, nil
	case reflect.Bool:
		return object{"type": "boolean"}, nil
	case reflect.Int, reflect.Int32, reflect.Int64:
		return object{"type": "integer"}, nil
	case reflect.Slice:
		items, err := s.of(t.Elem())
		return object{"type": "array", "items": items}, err
	case reflect.Map:
		items, err := s.of(t.Elem())
		return object{"type": "object", "additionalProperties": items}, err
	case reflect.Struct:
		return s.refer(t)
	}
	return nil, fmt.Errorf("%v has no schema", t)
}

// refer makes the component of a struct once, and refers to it.
func (s *schemas) refer(t reflect.Type) (object, error) {
	name, made := s.names[t]
	if !made {
		name = s.name(t)
		s.names[t] = name
		s.components[name] = object{} // it may contain itself
		schema, err := s.structure(t)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		s.components[name] = schema
	}
	return object{"$ref": "#/components/schemas/" + name}, nil
}

var ownPackage = reflect.TypeFor[operation]().PkgPath()

// name is what people call the type; two packages may have one of the same name.
func (s *schemas) name(t reflect.Type) string {
	name, element, generic := strings.Cut(t.Name(), "[")
	if generic {
		_, element, _ = strings.Cut(strings.TrimSuffix(element, "]"), ".")
		name = strings.TrimSuffix(element, "JSON") + "List"
	}
	name = strings.TrimSuffix(name, "JSON")
	name = strings.ToUpper(name[:1]) + name[1:]
	if t.PkgPath() == reflect.TypeFor[desired.Set]().PkgPath() { // what a file says of a team is not the team
		name = "Desired" + name
	}
	if _, taken := s.components[name]; taken || s.own[name] && t.PkgPath() != ownPackage {
		pkg := t.PkgPath()[strings.LastIndex(t.PkgPath(), "/")+1:]
		name = strings.ToUpper(pkg[:1]) + pkg[1:] + name
	}
	return name
}

func (s *schemas) structure(t reflect.Type) (object, error) {
	properties, required := object{}, []string{}
	for _, f := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" || name == "-" || !f.IsExported() || len(f.Index) > 1 && !promoted(t, f) {
			continue
		}
		if name == "" {
			return nil, fmt.Errorf("the field %s has no JSON name", f.Name)
		}
		schema, err := s.of(f.Type)
		if err != nil {
			return nil, err
		}
		if doc := f.Tag.Get("doc"); doc != "" {
			schema["description"] = doc
		}
		properties[name] = schema
		if !strings.Contains(options, "omit") && f.Type.Kind() != reflect.Pointer {
			required = append(required, name)
		}
	}
	slices.Sort(required)
	schema := object{"type": "object", "properties": properties}
	if len(required) > 0 {
		schema["required"] = required
	}
	if s.closed {
		schema["additionalProperties"] = false
	}
	return schema, nil
}

// promoted says whether encoding/json shows the field of an embedded struct as one of t's own.
func promoted(t reflect.Type, f reflect.StructField) bool {
	outer := t.FieldByIndex(f.Index[:len(f.Index)-1])
	return outer.Anonymous && outer.Tag.Get("json") == ""
}
