// An OpenID provider that is not ours, for the tests of sign-in. It keeps its defaults: claims beyond
// sub are at UserInfo only, PKCE is required, and people meet a login and a consent page.
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

const [redirectURI, afterLogout] = process.argv.slice(2);
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
    cookies: { keys: ['only for tests'] },
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, name: `Person ${id}`, email: `${id}@example.com`, groups: groups[id] ?? [] }),
    }),
  });
  server.on('request', provider.callback());
  console.log(issuer);
});
process.stdin.resume().on('end', () => process.exit(0)); // ends with the test
