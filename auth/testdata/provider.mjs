// An OpenID provider that is not ours, for the tests of sign-in. It keeps its defaults: claims beyond
// sub are at UserInfo only, PKCE is required, and people meet a login and a consent page. It knows one context class, that
// of people who sign in with the password "two factors"; as OpenID Connect has it, acr_values is no more than a wish.
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import Provider from 'oidc-provider';

const [redirectURI, afterLogout] = process.argv.slice(2);
const strong = 'urn:example:strong';
const groups = { ada: ['platform-admins'], tomas: ['developers'] };

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{
      client_id: 'console',
      client_secret: 'console-secret',
      redirect_uris: [redirectURI],
      post_logout_redirect_uris: [afterLogout],
    }],
    claims: { openid: ['sub'], profile: ['name'], email: ['email'], groups: ['groups'] },
    acrValues: [strong],
    cookies: { keys: ['only for tests'] },
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, name: `Person ${id}`, email: `${id}@example.com`, groups: groups[id] ?? [] }),
    }),
  });
  const answer = provider.callback();
  server.on('request', async (request, response) => {
    if (request.method !== 'POST' || !request.url.startsWith('/interaction/')) return answer(request, response);
    const form = new URLSearchParams(await text(request));
    const result = form.get('prompt') === 'consent'
      ? { consent: { grantId: await consent(provider, await provider.interactionDetails(request, response)) } }
      : { login: { accountId: form.get('login'), ...(form.get('password') === 'two factors' && { acr: strong }) } };
    await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: true });
  });
  console.log(issuer);
});

// consent agrees to all that is asked for.
async function consent(provider, { params, prompt, session }) {
  const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope((prompt.details.missingOIDCScope ?? []).join(' '));
  grant.addOIDCClaims(prompt.details.missingOIDCClaims ?? []);
  return grant.save();
}

process.stdin.resume().on('end', () => process.exit(0)); // ends with the test
