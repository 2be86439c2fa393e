"""Everything that is looked at: its id, its area, what it asks, and what usually mends it. ``docs/doctor.md`` has the
same table, held to this one by a test."""

from __future__ import annotations

from typing import NamedTuple


class Subject(NamedTuple):
    """``asks`` is for the documentation; ``mend`` for findings that have no better one."""

    area: str
    asks: str
    mend: str


SUBJECTS: dict[str, Subject] = {
    # --- A running server, from outside ---
    "reachable": Subject("server", "Does the URL answer at all?", "Check the URL, DNS, and that the server runs."),
    "answers": Subject(
        "server", "Does every request get an answer in time?", "Answer or refuse at once; look at the server's log."
    ),
    "rate-limit": Subject("server", "May we look at everything, or does the server limit us?", "Run it again later."),
    "latency": Subject("server", "How long do answers take?", "Look for what is slow before the first byte."),
    "clock": Subject("server", "Is the Date header near our own clock?", "Synchronise the server's clock (NTP)."),
    "body-limit": Subject(
        "server",
        "Is a stranger's announced body of 100 MB refused without waiting for it?",
        "Refuse before the body is read, or cap it (tenantry: MCP_HTTP_MAX_BODY, and the proxy's own limit).",
    ),
    "request-id": Subject("server", "Can a refusal be found in the log by an id?", "Send an X-Request-ID."),
    "slash": Subject(
        "server",
        "Does the path answer with and without its slash, and without a redirect?",
        "Serve both forms: clients lose the body or the token on a redirect.",
    ),
    "calls-closed": Subject(
        "access",
        "Are tools/list and tools/call refused without a token?",
        "Put the whole endpoint behind the check (tenantry: leave tools/call out of MCP_HTTP_ANONYMOUS_METHODS).",
    ),
    "methods-closed": Subject(
        "access", "Does no HTTP method get in without a token?", "Check the token before routing by method."
    ),
    "below-closed": Subject(
        "access", "Is a path below the endpoint closed as well?", "Put the whole app behind the check, not one route."
    ),
    "token-random": Subject("access", "Is a random token refused?", "Verify every token before anything else."),
    "token-garbage": Subject("access", "Is what cannot be a token refused?", "Verify every token."),
    "token-placeholder": Subject("access", "Is the literal ${TOKEN} refused?", "Verify every token."),
    "token-unsigned": Subject(
        "access", "Is a JWT with alg none refused?", "Pin the signature algorithms; never take them from the token."
    ),
    "token-forged": Subject(
        "access",
        "Is a JWT refused that has the right issuer, audience and key id, signed with another key?",
        "Verify the signature with the issuer's published keys.",
    ),
    "token-expired": Subject("access", "Is an expired JWT refused?", "Check exp on every request."),
    "token-audience": Subject(
        "access", "Is a JWT for another server refused?", "Check aud (tenantry: the provider's audience or client id)."
    ),
    "token-tampered": Subject("access", "Is the good token refused once its end is changed?", "Verify signatures."),
    "token-in-query": Subject(
        "access",
        "Is a token in the query refused?",
        "Read tokens from the Authorization header only: queries are logged.",
    ),
    "token-twice": Subject(
        "access",
        "Are two Authorization headers refused?",
        "Refuse a second Authorization header: two readers may read two callers.",
    ),
    "two-credentials": Subject(
        "access", "Are X-API-Key and Authorization together refused?", "Refuse a request with two credentials."
    ),
    "good-token": Subject(
        "challenge", "Is the token that was given accepted?", "Ask `tenantry token explain` what is wrong with it."
    ),
    "refusal-status": Subject(
        "challenge",
        "Is a request without a token answered 401 by every method, never 200, a redirect or a 5xx?",
        "Refuse on the HTTP level with 401, before MCP and before any redirect.",
    ),
    "bad-token-status": Subject(
        "challenge",
        "Is a bad token answered 401 (or 400), never 5xx or a redirect?",
        "Turn every failure of verification into 401; 503 with Retry-After only while the provider is down.",
    ),
    "challenge": Subject(
        "challenge",
        "Does the 401 carry WWW-Authenticate, beginning with Bearer?",
        "Send WWW-Authenticate: Bearer with every 401: clients start their sign-in from it.",
    ),
    "challenge-form": Subject(
        "challenge",
        "Are all values quoted, and is error_description last?",
        'Write name="value" pairs with commas between them, error_description at the end.',
    ),
    "challenge-error": Subject(
        "challenge",
        "Is there no error code where no token came (RFC 6750 section 3)?",
        "Leave error out without a token: some clients throw good tokens away on invalid_token.",
    ),
    "challenge-invalid-token": Subject(
        "challenge",
        'Does a bad token get error="invalid_token"?',
        'Send error="invalid_token" where a token came: clients then fetch a new one.',
    ),
    "challenge-same": Subject(
        "challenge", "Is the challenge the same on every method?", "Send the same WWW-Authenticate on every 401."
    ),
    "challenge-metadata": Subject(
        "challenge",
        "Does the challenge name the resource metadata that is published?",
        'Add resource_metadata="<URL of the metadata>" to the challenge.',
    ),
    "challenge-scope": Subject(
        "challenge",
        "Does the challenge name scopes, and not offline_access?",
        "Take offline_access out of the challenge: it is the client's own choice.",
    ),
    "duplicate-version": Subject(
        "challenge",
        "Are two MCP-Protocol-Version headers refused?",
        "Refuse doubled routing headers with 400: two readers may read two requests.",
    ),
    "metadata": Subject(
        "metadata",
        "Is the protected resource metadata (RFC 9728) published and readable?",
        "Serve the document as JSON with 200 at the URL that the challenge names.",
    ),
    "metadata-places": Subject(
        "metadata",
        "Is the same metadata at the path-inserted and at the root well-known URL?",
        "Serve one document at /.well-known/oauth-protected-resource, with and without the endpoint's path.",
    ),
    "resource": Subject(
        "metadata",
        "Is `resource` the URL that users type, byte for byte?",
        "Make it the URL that users type (tenantry: MCP_HTTP_PUBLIC_URL).",
    ),
    "metadata-http": Subject(
        "metadata",
        "Is the metadata open to browsers (CORS *), JSON, and served to HEAD and OPTIONS?",
        "Send Access-Control-Allow-Origin: * and application/json; answer GET, HEAD and OPTIONS.",
    ),
    "metadata-servers": Subject(
        "metadata", "Does it name authorization servers by https?", "List issuer URLs under authorization_servers."
    ),
    "metadata-scopes": Subject(
        "metadata", "Does it leave offline_access out?", "Take offline_access out of scopes_supported."
    ),
    "well-known-404": Subject(
        "metadata",
        "Is what is not there under /.well-known/ a plain 404?",
        "Answer unknown well-known paths with 404 and JSON: clients probe many of them.",
    ),
    "authorization-server": Subject(
        "sign-in",
        "Can the authorization server's metadata be read (RFC 8414, OpenID discovery)?",
        "Publish the metadata, or name an authorization server that does.",
    ),
    "issuer": Subject(
        "sign-in",
        "Is its issuer the one that the resource metadata names, byte for byte?",
        "Name the issuer as its own metadata writes it, slash included.",
    ),
    "pkce": Subject(
        "sign-in", "Does it offer PKCE with S256?", "Switch S256 on: MCP clients refuse to sign in without it."
    ),
    "registration": Subject(
        "sign-in",
        "Can a client register by itself (dynamic registration or client-id metadata documents)?",
        "Give your users a client id, or take an authorization server that lets clients register.",
    ),
    "keys": Subject("sign-in", "Are its signing keys published?", "Check jwks_uri at the authorization server."),
    "preflight": Subject(
        "browsers",
        "Does a CORS preflight pass without a token?",
        "Answer OPTIONS with Access-Control-Request-Method before checking tokens.",
    ),
    "preflight-headers": Subject(
        "browsers", "Does the preflight allow every header that MCP clients send?", "Allow them by name."
    ),
    "exposed-headers": Subject(
        "browsers",
        "May a browser client read WWW-Authenticate and Mcp-Session-Id?",
        "Name them in Access-Control-Expose-Headers.",
    ),
    "cors-on-401": Subject(
        "browsers",
        "Does the 401 itself carry CORS headers?",
        "Add CORS headers outside of the token check: without them a browser client sees no 401 at all.",
    ),
    "origin": Subject(
        "browsers",
        "Is a foreign Origin refused with 403?",
        "Refuse origins that are not yours (tenantry: MCP_HTTP_ALLOWED_ORIGINS).",
    ),
    "host": Subject(
        "browsers",
        "Is a foreign Host refused?",
        "Serve named hosts only (tenantry: MCP_HTTP_PUBLIC_URL or MCP_HTTP_ALLOWED_HOSTS).",
    ),
    "https": Subject("https", "Is the server used over https?", "Serve https: a token in the clear is anybody's."),
    "http-closed": Subject(
        "https",
        "Does plain http redirect or refuse?",
        "Redirect or refuse plain http (tenantry: leave MCP_HTTP_REQUIRE_HTTPS on).",
    ),
    "certificate": Subject("https", "How long is the certificate good for?", "Renew the certificate."),
    "hsts": Subject(
        "https",
        "Does Strict-Transport-Security keep browsers on https for half a year or more?",
        "Send Strict-Transport-Security: max-age=31536000 (tenantry: MCP_HTTP_HSTS_MAX_AGE).",
    ),
    "health": Subject("health", "Is there a health path that needs no token?", "Serve /livez or /healthz openly."),
    "health-quiet": Subject(
        "health", "Do health answers tell nothing of the inside?", "Say ok or not, and nothing about versions or hosts."
    ),
    "server-header": Subject(
        "leaks", "Do headers name no product version?", "Switch the Server and X-Powered-By headers off."
    ),
    "stack-trace": Subject("leaks", "Does no answer hold a stack trace?", "Switch debug mode off."),
    "token-echo": Subject(
        "leaks", "Does no answer repeat the token that was sent?", "Never write a caller's token into an answer."
    ),
    # --- The settings of this environment ---
    "settings": Subject("settings", "Are the settings complete and safe?", "Change the variable that is named."),
    "unsafe": Subject("settings", "Which checks are switched off?", "Unset it, unless you mean it."),
    "public-url": Subject(
        "settings", "Is the public URL one that clients can type?", "Set MCP_HTTP_PUBLIC_URL to the endpoint's URL."
    ),
    "audience": Subject(
        "settings",
        "Is what clients ask a token for among the audiences?",
        "Add the public URL to MCP_HTTP_AUTH0_AUDIENCE, and as an API identifier at Auth0.",
    ),
    "policy": Subject("settings", "Can the rules be read?", "Mend the rule that is named (`tenantry policy test`)."),
    "tls-files": Subject(
        "settings", "Do certificate and key fit, and for how long?", "Renew MCP_HTTP_TLS_CERT_PATH and its key."
    ),
    "proxies": Subject(
        "settings",
        "Are the platform's proxies trusted, and nobody else?",
        "Set MCP_HTTP_TRUSTED_PROXIES to your proxy's networks (docs/operations.md).",
    ),
    "provider": Subject(
        "providers",
        "Does each provider answer, and is it who we expect?",
        "Check the provider's domain and the network.",
    ),
    "provider-keys": Subject(
        "providers", "Does each publish keys that can be used, and how old are they?", "Look at the provider's JWKS."
    ),
    "provider-client": Subject(
        "providers",
        "Does GitHub know our client id and secret, and who answers introspection our client?",
        "Check MCP_HTTP_GITHUB_CLIENT_ID and MCP_HTTP_GITHUB_CLIENT_SECRET.",
    ),
    "provider-clock": Subject(
        "providers",
        "Is our clock within MCP_HTTP_CLOCK_SKEW of each provider's?",
        "Synchronise this machine's clock (NTP).",
    ),
    "database": Subject(
        "database",
        "Can each database be reached, and is its server recent enough?",
        "Check MCP_HTTP_DATABASE_CONNECTION_STRING (or DATABASE_URL) and the network.",
    ),
    "database-login": Subject(
        "database",
        "Has the login for requests no rights of its own?",
        "Use a login made with CREATE ROLE ... LOGIN NOINHERIT, and put the other into DIRECT_DATABASE_URL.",
    ),
    "prepared": Subject("database", "Has the database what it needs once?", "Run `tenantry migrate`."),
    "migrations": Subject("database", "Does every tenant have the newest migrations?", "Run `tenantry migrate`."),
    "pooler": Subject(
        "database",
        "Is a pooler passed by for what needs a session?",
        "Set DIRECT_DATABASE_URL to the server itself, past the pooler.",
    ),
    "set-config": Subject(
        "database",
        "Is set_config nobody's?",
        "REVOKE EXECUTE ON FUNCTION pg_catalog.set_config(text, text, boolean) FROM PUBLIC, as a superuser.",
    ),
    "redis": Subject("stores", "Can the quota store be reached?", "Check MCP_HTTP_REDIS_URL (or REDIS_URL)."),
    "audit": Subject("stores", "Can the audit be written?", "Make MCP_HTTP_AUDIT_SINKS's folder writable."),
}
AREAS = tuple(dict.fromkeys(subject.area for subject in SUBJECTS.values()))
