// A certified OpenID provider on loopback, for whoever asks: it signs in without asking, and hands out tokens of every
// form. Its one argument is JSON: `clients` as it knows them, `resource`, for which tokens are. It prints one line of JSON
// when it listens and ends with its standard input.
//
// Beside its own endpoints: POST /_peer/rotate signs with new keys and forgets the old ones, GET /_peer/calls counts.

import { createServer } from "node:http";
import { generateKeyPairSync, randomBytes } from "node:crypto";

console.info = console.warn = console.error; // standard output is for the one line
const { default: Provider, errors } = await import("oidc-provider");

const run = JSON.parse(process.argv[2]);
const calls = {};
let provider, answer;

const server = createServer((request, response) => {
  const path = request.url.split("?")[0];
  if (path === "/_peer/calls") return response.end(JSON.stringify(calls));
  if (path === "/_peer/rotate") {
    rotate();
    return response.end("{}");
  }
  calls[path] = (calls[path] ?? 0) + 1;
  if (path.startsWith("/interaction/")) return signIn(request, response);
  return answer(request, response);
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const issuer = `http://127.0.0.1:${server.address().port}`;
rotate();
console.log(JSON.stringify({ issuer }));
process.stdin.on("end", () => process.exit(0)).resume();

function newKeys() {
  const kinds = [
    ["rsa", { modulusLength: 2048 }, "RS256"],
    ["ec", { namedCurve: "P-256" }, "ES256"],
    ["ed25519", {}, "EdDSA"],
  ];
  return kinds.map(([kind, options, alg]) => {
    const { privateKey } = generateKeyPairSync(kind, options);
    return { ...privateKey.export({ format: "jwk" }), alg, use: "sig", kid: randomBytes(8).toString("hex") };
  });
}

// The provider keeps its keys for good, so a rotation is a new one over the same memory.
function rotate() {
  provider = new Provider(issuer, {
    clients: run.clients,
    jwks: { keys: newKeys() },
    cookies: { keys: ["a made-up key of the tests"] },
    scopes: ["openid", "offline_access", "notes:read", "notes:write"],
    ttl: { AccessToken: 3600, ClientCredentials: 3600, Grant: 3600, Interaction: 600, RefreshToken: 3600, Session: 600 },
    findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true },
      revocation: { enabled: true },
      dPoP: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo(_, resource, client) {
          if (resource !== run.resource && resource !== run.elsewhere) throw new errors.InvalidTarget();
          const alg = { rs256: "RS256", es256: "ES256", eddsa: "EdDSA" }[client.clientId];
          const scope = "notes:read notes:write";
          if (!alg) return { scope, audience: resource, accessTokenFormat: "opaque" };
          return { scope, audience: resource, accessTokenFormat: "jwt", jwt: { sign: { alg } } };
        },
      },
    },
  });
  answer = provider.callback();
}

// Whoever `login_hint` names, and everything that he is asked for.
async function signIn(request, response) {
  const { params, grantId } = await provider.interactionDetails(request, response);
  const grant = grantId
    ? await provider.Grant.find(grantId)
    : new provider.Grant({ accountId: params.login_hint, clientId: params.client_id });
  grant.addOIDCScope("openid offline_access notes:read notes:write");
  for (const resource of [run.resource, run.elsewhere]) grant.addResourceScope(resource, "notes:read notes:write");
  const result = { login: { accountId: params.login_hint }, consent: { grantId: await grant.save() } };
  await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
}
