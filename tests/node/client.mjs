// An official TypeScript client with somebody at a browser who does what he is asked. It is told everything by its one
// argument (see "run" below) and prints one line of JSON: what the calls gave, what it was answered, what it kept.

import { existsSync, readFileSync, writeFileSync } from "node:fs";

// package, url, revision ("legacy", "auto" or one to pin), person, headers, memory (a file), calls ([tool, arguments]),
// dpop (whether it binds its tokens to a key of its own).
const run = JSON.parse(process.argv[2]);
const CALLBACK = "http://127.0.0.1:3000/callback";
const memory = existsSync(run.memory) ? JSON.parse(readFileSync(run.memory)) : {};
const seen = [];
const asked = [];

async function sdk() {
  if (run.package === "@modelcontextprotocol/client") return import("@modelcontextprotocol/client");
  const parts = ["index", "streamableHttp", "auth"].map((part) => import(`@modelcontextprotocol/sdk/client/${part}.js`));
  return Object.assign({}, ...(await Promise.all(parts)));
}

const { Client, DpopSession, StreamableHTTPClientTransport, UnauthorizedError } = await sdk();

// Forgets what it is told to forget: a test sees which answers cost a sign-in.
class Person {
  redirectUrl = CALLBACK;
  clientMetadata = {
    client_name: "Notes",
    redirect_uris: [CALLBACK],
    grant_types: ["authorization_code", "refresh_token"],
    response_types: ["code"],
    token_endpoint_auth_method: "none",
  };

  clientInformation = () => memory.client;
  tokens = () => memory.tokens;
  codeVerifier = () => memory.verifier;
  discoveryState = () => memory.discovery;
  saveClientInformation = (client) => this.keep({ client });
  saveTokens = (tokens) => this.keep({ tokens });
  saveDiscoveryState = (discovery) => this.keep({ discovery });
  saveCodeVerifier = (verifier) => this.keep({ verifier });

  keep(more) {
    Object.assign(memory, more);
    writeFileSync(run.memory, JSON.stringify(memory));
  }

  invalidateCredentials(scope) {
    if (scope === "all" || scope === "client") this.keep({ client: undefined });
    if (scope === "all" || scope === "tokens") this.keep({ tokens: undefined });
  }

  async redirectToAuthorization(url) {
    asked.push(Object.fromEntries(url.searchParams));
    url.searchParams.set("login_hint", run.person);
    const answer = await fetch(url, { redirect: "manual" });
    this.cameBack = new URL(answer.headers.get("location")).searchParams;
  }
}

const person = run.person ? new Person() : undefined;
if (run.dpop) {
  const session = await DpopSession.create();
  person.dpop = () => session;
}
let client, transport;

async function noted(url, init) {
  const answer = await fetch(url, init);
  seen.push([init?.method ?? "GET", String(url), answer.status]);
  return answer;
}

async function connect() {
  const mode = ["legacy", "auto"].includes(run.revision) ? run.revision : { pin: run.revision };
  client = new Client({ name: "tests", version: "0" }, { versionNegotiation: { mode } });
  const options = { authProvider: person, fetch: noted, requestInit: { headers: run.headers } };
  transport = new StreamableHTTPClientTransport(new URL(run.url), options);
  await client.connect(transport);
}

// Again after the sign-in that the client asks for; nobody is sent to the browser twice for one thing.
async function signedIn(act) {
  for (let once = true; ; once = false) {
    try {
      return await act();
    } catch (error) {
      if (!(error instanceof UnauthorizedError) || !person?.cameBack || !once) throw error;
      const back = person.cameBack;
      person.cameBack = undefined;
      await transport.finishAuth(run.package === "@modelcontextprotocol/client" ? back : back.get("code"));
    }
  }
}

async function outcome(act) {
  try {
    return await signedIn(act);
  } catch (error) {
    return { error: error.message, status: error.status ?? error.code };
  }
}

const connected = await outcome(connect);
const calls = [];
if (!connected?.error) {
  for (const [name, args] of run.calls) calls.push(await outcome(() => client.callTool({ name, arguments: args })));
  await client.close();
}
console.log(JSON.stringify({ connected: connected ?? true, calls, seen, asked, memory }));
process.exit(0);
