package auth_test

import (
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"

	"countersign/auth"
	"countersign/identity"
	"countersign/internal/problem"
)

var system = identity.Principal{Kind: identity.System}

func TestGatewayGetsATokenAndIsKnownByIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	made := b.enrol(t, "edge", gatewayAt)
	if !strings.HasPrefix(made.ID, "cli_") || !strings.HasPrefix(made.Secret, "csk_") || len(made.Secret) != 53 {
		t.Errorf("made %+v", made)
	}
	answer, err := b.Token(t.Context(), made.ID, made.Secret)
	if err != nil {
		t.Fatal(err)
	}
	if answer.ExpiresIn != 10*time.Minute {
		t.Errorf("it lives %v", answer.ExpiresIn)
	}
	who, err := b.Bearer(t.Context(), answer.Token)
	if err != nil {
		t.Fatal(err)
	}
	want := identity.Principal{
		Kind: identity.Gateway, Name: "edge",
		ID:         b.text(t, `select id from gateways`),
		GatewayID:  b.text(t, `select id from gateways`),
		AudienceID: b.text(t, `select audience_id from gateways`),
	}
	if diff := cmp.Diff(want, who); diff != "" {
		t.Errorf("principal (-want +got):\n%s", diff)
	}
	if err := who.Can(identity.Enforce, ""); err != nil {
		t.Error(err)
	}
	if got := b.text(t, `select target_id from audit_events where kind = 'client.created'`); got != made.ID {
		t.Errorf("audited %q", got)
	}
}

func TestBearerNeedsNoQuery(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token, _ := b.speak(t, b.enrol(t, "edge", gatewayAt))
	before := b.db.Runtime.Stat().AcquireCount()
	for range 10 {
		if _, err := b.Bearer(t.Context(), token); err != nil {
			t.Fatal(err)
		}
	}
	if after := b.db.Runtime.Stat().AcquireCount(); after != before {
		t.Errorf("%d connections were taken", after-before)
	}
}

func TestAutomationClientIsNoGateway(t *testing.T) {
	t.Parallel()
	b := setup(t)
	made, err := b.CreateClient(t.Context(), b.signIn(t, "ada").Who, auth.NewClient{Name: "pipeline", Kind: auth.AutomationClient})
	if err != nil {
		t.Fatal(err)
	}
	_, who := b.speak(t, made)
	if who.Kind != identity.Client || who.ID != made.ID {
		t.Errorf("who = %+v", who)
	}
	wantProblem(t, who.Can(identity.Enforce, ""), problem.Forbidden, "gateway_only")
}

func TestAutomationClientHasRolesAndATeam(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada := b.signIn(t, "ada").Who
	team := b.text(t, `insert into teams (name, idp_groups) values ('Commerce', '{commerce}') returning id`)
	made, err := b.CreateClient(t.Context(), ada, auth.NewClient{
		Name: "pipeline", Kind: auth.AutomationClient, Roles: []identity.Role{identity.Admin, identity.Viewer, identity.Viewer}, TeamID: team,
	})
	if err != nil {
		t.Fatal(err)
	}
	_, who := b.speak(t, made)
	want := identity.Principal{
		Kind: identity.Client, ID: made.ID, Name: "pipeline", Roles: []identity.Role{identity.Viewer, identity.Admin}, Teams: []string{team},
	}
	if diff := cmp.Diff(want, who); diff != "" {
		t.Errorf("principal (-want +got):\n%s", diff)
	}
	clients, err := b.Clients(t.Context(), ada)
	if err != nil || len(clients) != 1 || clients[0].TeamName != "Commerce" || !cmp.Equal(clients[0].Roles, want.Roles) {
		t.Errorf("clients = %+v, %v", clients, err)
	}
	for code, n := range map[string]auth.NewClient{
		"invalid_client_roles": {Name: "x", Kind: auth.AutomationClient, Roles: []identity.Role{identity.Approver}},
		"invalid_client_team":  {Name: "x", Kind: auth.AutomationClient, TeamID: "tem_none"},
	} {
		_, err := b.CreateClient(t.Context(), ada, n)
		wantProblem(t, err, problem.Invalid, code)
	}
	_, err = b.CreateClient(t.Context(), ada, auth.NewClient{Name: "x", Kind: auth.GatewayClient, Roles: []identity.Role{identity.Viewer}})
	wantProblem(t, err, problem.Invalid, "invalid_client_roles")
}

func TestClientsAreMadeByAdminsInASession(t *testing.T) {
	t.Parallel()
	b := setup(t)
	made := b.enrol(t, "edge", gatewayAt)
	_, gateway := b.speak(t, made)
	machineAdmin := identity.Principal{Kind: identity.Client, ID: "cli_x", Roles: []identity.Role{identity.Admin}}
	for name, who := range map[string]identity.Principal{
		"nobody": {}, "a gateway": gateway, "a machine": machineAdmin, "an approver": b.signIn(t, "priya").Who,
	} {
		if _, err := b.CreateClient(t.Context(), who, auth.NewClient{Name: "x", Kind: auth.GatewayClient}); err == nil {
			t.Errorf("%s made a client", name)
		}
		if err := b.RevokeClient(t.Context(), who, made.ID); err == nil {
			t.Errorf("%s revoked a client", name)
		}
	}
	for _, name := range []string{"", "   ", strings.Repeat("x", 101), "a\x00b"} {
		_, err := b.CreateClient(t.Context(), system, auth.NewClient{Name: name, Kind: auth.GatewayClient})
		wantProblem(t, err, problem.Invalid, "invalid_client_name")
	}
	_, err := b.CreateClient(t.Context(), system, auth.NewClient{Name: "x", Kind: "robot"})
	wantProblem(t, err, problem.Invalid, "invalid_client_kind")

	clients, err := b.Clients(t.Context(), b.signIn(t, "ada").Who)
	if err != nil || len(clients) != 1 || clients[0].ID != made.ID || clients[0].Name != "edge" {
		t.Errorf("clients = %+v, %v", clients, err)
	}
	if _, err := b.Clients(t.Context(), identity.Principal{}); err == nil {
		t.Error("nobody listed the clients")
	}
}

func TestTokenRefuses(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, other := b.enrol(t, "one", gatewayAt), b.enrol(t, "other", gatewayAt)
	typo := one.Secret[:10] + "!" + one.Secret[11:]
	for name, test := range map[string]auth.Issued{
		"another client's secret": {ID: one.ID, Secret: other.Secret},
		"a typing error":          {ID: one.ID, Secret: typo},
		"no secret":               {ID: one.ID},
		"an unknown client":       {ID: "cli_none", Secret: one.Secret},
		"no client":               {Secret: one.Secret},
		"a hostile id":            {ID: "cli\x00' or 1=1", Secret: one.Secret},
		"a secret with more":      {ID: one.ID, Secret: one.Secret + "x"},
	} {
		if _, err := b.Token(t.Context(), test.ID, test.Secret); err == nil {
			t.Errorf("%s got a token", name)
		} else {
			wantProblem(t, err, problem.Unauthenticated, "invalid_client")
		}
	}
	dump := b.text(t, `select string_agg(c::text, ' ') || (select string_agg(e::text, ' ') from audit_events e) from api_clients c`)
	if strings.Contains(dump, one.Secret) || strings.Contains(dump, one.Secret[4:20]) {
		t.Error("the secret is readable in the database")
	}
}

func TestClientSecretHasAChecksum(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 200 {
		secret := auth.NewSecretOf()
		if !auth.IsClientSecret(secret) || len(secret) != 53 || seen[secret] {
			t.Fatalf("secret %q", secret)
		}
		seen[secret] = true
		for i := range secret {
			changed := secret[:i] + "~" + secret[i+1:]
			if auth.IsClientSecret(changed) {
				t.Errorf("%q passes", changed)
			}
		}
	}
}

func TestRevokedClient(t *testing.T) {
	t.Parallel()
	b := setup(t)
	made := b.enrol(t, "edge", gatewayAt)
	token, who := b.speak(t, made)
	if b.Revoked(who.ID) {
		t.Error("it counts as revoked before it is")
	}
	changed := b.Changed()
	if err := b.RevokeClient(t.Context(), b.signIn(t, "ada").Who, made.ID); err != nil {
		t.Fatal(err)
	}
	_, err := b.Bearer(t.Context(), token)
	wantProblem(t, err, problem.Forbidden, "gateway_revoked")
	_, err = b.Token(t.Context(), made.ID, made.Secret)
	wantProblem(t, err, problem.Forbidden, "gateway_revoked")
	if !b.Revoked(who.ID) || !b.Revoked("gtw_unknown") {
		t.Error("it does not count as revoked")
	}
	select {
	case <-changed:
	default:
		t.Error("nobody who waits for a change was told")
	}
	wantProblem(t, b.RevokeClient(t.Context(), system, made.ID), problem.NotFound, "no_such_client")

	pipeline, err := b.CreateClient(t.Context(), system, auth.NewClient{Name: "pipeline", Kind: auth.AutomationClient})
	if err != nil {
		t.Fatal(err)
	}
	token, _ = b.speak(t, pipeline)
	if err := b.RevokeClient(t.Context(), system, pipeline.ID); err != nil {
		t.Fatal(err)
	}
	_, err = b.Bearer(t.Context(), token)
	wantProblem(t, err, problem.Unauthenticated, "invalid_token")
	_, err = b.Token(t.Context(), pipeline.ID, pipeline.Secret)
	wantProblem(t, err, problem.Unauthenticated, "invalid_client")
}

func TestRevokedGatewayWithALiveClient(t *testing.T) {
	t.Parallel()
	b := setup(t)
	made := b.enrol(t, "edge", gatewayAt)
	token, _ := b.speak(t, made)
	b.exec(t, `update gateways set revoked_at = clock_timestamp()`)
	if err := b.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := b.Bearer(t.Context(), token)
	wantProblem(t, err, problem.Forbidden, "gateway_revoked")
}

func TestBearerRefuses(t *testing.T) {
	t.Parallel()
	b := setup(t)
	made := b.enrol(t, "edge", gatewayAt)
	good, _ := b.speak(t, made)
	unenrolled, err := b.CreateClient(t.Context(), system, auth.NewClient{Name: "not enrolled", Kind: auth.GatewayClient})
	if err != nil {
		t.Fatal(err)
	}
	lost, err := b.Token(t.Context(), unenrolled.ID, unenrolled.Secret)
	if err != nil {
		t.Fatal(err)
	}
	policyKid, policyKey := b.PolicyKey()
	_, strangerKey, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jwt.ParseSigned(good, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	kid := parsed.Headers[0].KeyID
	claims := map[string]any{
		"iss": console, "aud": console, "sub": made.ID, "client_id": made.ID, "jti": "x",
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	}
	parts := strings.Split(good, ".")
	for name, token := range map[string]string{
		"nothing":                     "",
		"nonsense":                    "nonsense",
		"a very long one":             strings.Repeat("x", 100_000),
		"signed by the policy key":    sign(t, jose.EdDSA, policyKey, policyKid, "at+jwt", claims),
		"that, under the token's kid": sign(t, jose.EdDSA, policyKey, kid, "at+jwt", claims),
		"signed by a stranger":        sign(t, jose.EdDSA, strangerKey, kid, "at+jwt", claims),
		"signed with a MAC":           sign(t, jose.HS256, []byte(strings.Repeat("k", 32)), kid, "at+jwt", claims),
		"not signed":                  "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0." + parts[1] + ".",
		"with a changed payload":      parts[0] + "." + parts[1][:len(parts[1])-2] + "." + parts[2],
		"without its signature":       parts[0] + "." + parts[1] + ".",
		"of a client not enrolled":    lost.Token,
		"a person's session":          b.signIn(t, "ada").Cookie,
		"of the identity provider":    b.idp.Token(t, "ada", console),
	} {
		if who, err := b.Bearer(t.Context(), token); err == nil {
			t.Errorf("a token that is %s passed as %+v", name, who)
		} else {
			wantProblem(t, err, problem.Unauthenticated, "invalid_token")
		}
	}
	if _, err := b.Bearer(t.Context(), good); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

func TestTokenExpires(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token, _ := b.speak(t, b.enrol(t, "edge", gatewayAt))
	b.clock.Set(9 * time.Minute)
	if _, err := b.Bearer(t.Context(), token); err != nil {
		t.Errorf("after nine minutes: %v", err)
	}
	b.clock.Set(11 * time.Minute)
	_, err := b.Bearer(t.Context(), token)
	wantProblem(t, err, problem.Unauthenticated, "invalid_token")
	b.clock.Set(-5 * time.Minute)
	_, err = b.Bearer(t.Context(), token)
	wantProblem(t, err, problem.Unauthenticated, "invalid_token")
}

func TestTokenOfAnotherInstallation(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token, _ := b.speak(t, b.enrol(t, "edge", gatewayAt))
	b.config.PublicURL = "https://countersign.example.com"
	elsewhere, _ := b.replica(t, b.db.NewPool(t))
	_, err := elsewhere.Bearer(t.Context(), token)
	wantProblem(t, err, problem.Unauthenticated, "invalid_token")
}

func TestBearerFailsClosedWithoutTheDatabase(t *testing.T) {
	t.Parallel()
	b := setup(t)
	made := b.enrol(t, "edge", gatewayAt)
	pool := b.db.NewPool(t)
	replica, _ := b.replica(t, pool)
	token, err := replica.Token(t.Context(), made.ID, made.Secret)
	if err != nil {
		t.Fatal(err)
	}
	pool.Close()
	if _, err := replica.Bearer(t.Context(), token.Token); err != nil {
		t.Errorf("within the limit: %v", err)
	}
	b.clock.Set(16 * time.Second)
	_, err = replica.Bearer(t.Context(), token.Token)
	wantProblem(t, err, problem.Unavailable, "clients_unknown")
}

func sign(t *testing.T, algorithm jose.SignatureAlgorithm, key any, kid, typ string, claims any) string {
	t.Helper()
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: kid}},
		(&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func BenchmarkBearer(b *testing.B) {
	s := setup(b)
	token, _ := s.speak(b, s.enrol(b, "edge", gatewayAt))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Bearer(b.Context(), token); err != nil {
			b.Fatal(err)
		}
	}
}
