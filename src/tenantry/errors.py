"""What can go wrong, and what each of it looks like from outside.

Two families, and nothing else leaves the gate:

* ``Refusal``: this request is not let in. Its class fixes the answer (status, OAuth error code, challenge:
  RFC 6750 section 3, MCP authorization 2026-07-28); its ``reason`` is the stable code for programs; the
  sentence for people comes from ``REASONS`` and never holds a word taken from a token.
* ``ConfigurationError``: this server must not start (or cannot do what it was asked), with the variable,
  what is wrong with it and the mend.
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

from .limits import Limit


class ConfigurationError(Exception):
    """A setting is missing, malformed or unsafe. ``str(error)`` is one sentence an operator can act on."""


class Reason(NamedTuple):
    """The fixed words of one reason: ``description`` goes on the wire (ASCII, no quotes, RFC 6750 section 3),
    ``hint`` goes to the operator's log and, in development, into the body."""

    description: str
    hint: str | None = None


# Nothing here says whether a user, a key or a tenant exists. Descriptions avoid the letters "scope=":
# MCP clients pick fields out of the challenge with unanchored regular expressions.
REASONS: dict[str, Reason] = {
    # 401, nothing presented
    "credential_missing": Reason("Authentication required", "Send Authorization: Bearer <token> or X-API-Key."),
    # 400
    "authorization_malformed": Reason("The Authorization header is malformed"),
    "credential_duplicate": Reason("Send exactly one credential", "Two credentials arrived in one request."),
    "token_in_query": Reason("A token must not be sent in the query string"),
    "header_duplicate": Reason("A header that may appear once appeared twice"),
    "body_malformed": Reason("The request body is not acceptable", "One JSON-RPC message, read strictly, is expected."),
    "body_incomplete": Reason("The request body is not complete"),
    "batch_forbidden": Reason("A message of the batch is not allowed", "Send it alone to hear why."),
    "headers_disagree": Reason("The request headers and the body do not agree"),
    # 413, 415
    "body_too_large": Reason("The request body is too large", "See MCP_HTTP_MAX_BODY."),
    "body_type_refused": Reason("The request body is not of type application/json"),
    "body_encoding_refused": Reason("A compressed or re-encoded request body is not accepted"),
    # 401, form
    "scheme_unsupported": Reason("Only the Bearer scheme is supported"),
    "placeholder_sent": Reason(
        "A placeholder was sent instead of a token",
        "The client sent ${...} literally: the environment variable is not set where the client runs.",
    ),
    "token_too_large": Reason("The token is too large"),
    "token_malformed": Reason("The token is malformed"),
    "token_header_refused": Reason("The token header is not acceptable"),
    "token_type_refused": Reason("The token is of a kind that is not accepted here"),
    "token_encrypted": Reason(
        "The token is encrypted or opaque",
        "Auth0 issues an opaque token when no audience was requested: ask for audience=<your API identifier>, "
        "or switch on the Resource Parameter Compatibility Profile of the tenant.",
    ),
    "algorithm_refused": Reason("The token algorithm is not accepted"),
    "foreign_secret": Reason("The credential belongs to another service", "It was not sent anywhere. Revoke it."),
    "token_kind_refused": Reason("The token is of a kind that is not accepted here"),
    "personal_token_refused": Reason(
        "Personal access tokens are not accepted",
        "They are bound to no app. MCP_HTTP_GITHUB_BINDING=none would accept them, and those of any other app.",
    ),
    "installation_token_refused": Reason("Installation tokens are not accepted", "They name no user."),
    "checksum_failed": Reason("The token is malformed", "The checksum inside it fails: mistyped or invented."),
    "provider_not_configured": Reason("No configured provider vouches for this token"),
    "provider_mismatch": Reason("The token is not from the provider that was named"),
    # 401, proof
    "issuer_unknown": Reason("No configured provider vouches for this token"),
    "key_unknown": Reason("The token was signed with an unknown key"),
    "signature_invalid": Reason("The token signature is invalid"),
    "token_rejected": Reason("The token is invalid, expired or revoked", "Its provider refuses it."),
    "claims_malformed": Reason("The token claims are not acceptable"),
    "issuer_mismatch": Reason("The token issuer is not accepted"),
    "audience_mismatch": Reason("The token was not issued for this server"),
    "client_mismatch": Reason("The token was issued to a client that is not accepted"),
    "service_account_refused": Reason(
        "The token was issued to a client that is not accepted",
        "A Google service account can mint an ID token for any audience. List it in "
        "MCP_HTTP_GOOGLE_SERVICE_ACCOUNTS to accept it.",
    ),
    "subject_invalid": Reason("The token subject is not acceptable"),
    "workload_not_allowed": Reason(
        "The token was issued to a workload that is not accepted",
        "No rule of its entry in MCP_HTTP_OIDC_PROVIDERS matches.",
    ),
    "organization_missing": Reason("The token names no organization"),
    "sender_constrained": Reason("A sender-constrained token needs its proof of possession"),
    "token_unbound": Reason(
        "The token is not bound to a key",
        "DPoP: the client asked for its token without a proof, so that it was given a plain one.",
    ),
    "proof_key_mismatch": Reason("The token is bound to another key than the one of the proof"),
    # 401, proof of possession (RFC 9449)
    "proof_missing": Reason("The DPoP proof is missing"),
    "proof_malformed": Reason("The DPoP proof is malformed", "One DPoP header, and a JWT of type dpop+jwt in it."),
    "proof_algorithm_refused": Reason("The algorithm of the DPoP proof is not accepted"),
    "proof_key_refused": Reason(
        "The key of the DPoP proof is not acceptable",
        "A public EC, Ed25519 or RSA key (2048 to 4096 bits) is expected.",
    ),
    "proof_signature_invalid": Reason("The signature of the DPoP proof is invalid"),
    "proof_of_another_request": Reason(
        "The DPoP proof was made for another request",
        "htm and htu must be the method and the address that clients use: MCP_HTTP_PUBLIC_URL, without a query.",
    ),
    "proof_of_another_token": Reason("The DPoP proof was made for another token"),
    "proof_stale": Reason("The DPoP proof is too old", "See MCP_HTTP_DPOP_WINDOW; or the clock of the client is slow."),
    "proof_not_yet_valid": Reason("The DPoP proof is from the future", "The clock of the client is fast."),
    "proof_replayed": Reason("The DPoP proof was used before", "A client makes a new one for every request."),
    "proof_nonce_needed": Reason("The DPoP proof needs the nonce of this server"),
    # 401, time and keys
    "token_expired": Reason("The token has expired"),
    "token_not_yet_valid": Reason("The token is not valid yet"),
    "api_key_invalid": Reason("The API key is not valid"),
    "api_key_expired": Reason("The API key has expired"),
    # 403
    "permission_missing": Reason("More permissions are needed"),
    "domain_not_allowed": Reason("This account may not use this server"),
    "personal_account_denied": Reason(
        "This account may not use this server", "MCP_HTTP_PERSONAL_DOMAINS=deny refuses accounts without a domain."
    ),
    "tenant_unknown": Reason(
        "This account may not use this server",
        "MCP_HTTP_TENANT_PROVISIONING does not serve this tenant: tenantry tenants create <tenant>; with mapped it is "
        "enough to name its domain in MCP_HTTP_ALLOWED_DOMAINS or MCP_HTTP_TENANT_MAPPING.",
    ),
    "tenant_suspended": Reason(
        "This account may not use this server", "The tenant is suspended: tenantry tenants resume <tenant>."
    ),
    "tenant_conflict": Reason(
        "This account may not use this server",
        "The tenant derived for this caller is a name that MCP_HTTP_TENANT_MAPPING gives to somebody else.",
    ),
    "call_not_allowed": Reason("This account may not make this call", "The policy: tenantry policy test shows why."),
    "csrf_refused": Reason("The form was not sent from this site"),
    "origin_not_allowed": Reason("This origin may not use this server", "See MCP_HTTP_ALLOWED_ORIGINS."),
    # 421
    "host_not_allowed": Reason("This host is not served here", "See MCP_HTTP_ALLOWED_HOSTS."),
    # 426
    "https_required": Reason(
        "This server is used over https only",
        "Behind a proxy that ends TLS name its address in MCP_HTTP_TRUSTED_PROXIES; MCP_HTTP_REQUIRE_HTTPS=false "
        "serves plain http.",
    ),
    # 429
    "address_quota": Reason("Too many requests", "See MCP_HTTP_RATE_LIMIT_ANONYMOUS."),
    "api_key_quota": Reason("Too many requests", "See MCP_HTTP_RATE_LIMIT_API_KEY."),
    "proof_quota": Reason("Too many requests", "So many DPoP proofs of one caller are remembered, and no more."),
    "tenant_quota": Reason("Too many requests", "See MCP_HTTP_RATE_LIMIT_TENANT."),
    "user_quota": Reason("Too many requests", "See MCP_HTTP_RATE_LIMIT_USER."),
    # 503
    "provider_unavailable": Reason("The identity provider cannot be reached"),
    "provider_rate_limited": Reason("The identity provider limits requests"),
    "provider_misconfigured": Reason(
        "The identity provider refuses this server",
        "The provider rejects our own client credentials: check the client id and secret.",
    ),
    "keys_unavailable": Reason("The signing keys of the identity provider cannot be fetched"),
    "keys_unconfirmed": Reason(
        "The signing key cannot be confirmed yet",
        "Many unknown key ids arrive; the budget for fetching the key set anew is spent for the moment.",
    ),
    "database_unavailable": Reason("The database cannot be reached"),
    "tenant_behind": Reason(
        "The data of this account is being brought up to date", "The tenant lacks migrations: tenantry migrate."
    ),
    "tenant_moving": Reason("The data of this account is being moved"),
    "server_misconfigured": Reason("This server is not configured completely", "The log says what is missing."),
    "provider_budget": Reason(
        "The identity provider limits requests",
        "Little is left of what the provider grants this server; callers that it knows go on.",
    ),
    "quota_unavailable": Reason(
        "A store that this request needs cannot be reached", "The quota store. See MCP_HTTP_RATE_LIMIT_ON_ERROR."
    ),
    "audit_unavailable": Reason(
        "A store that this request needs cannot be reached", "The audit. See MCP_HTTP_AUDIT_ON_ERROR."
    ),
    "proofs_full": Reason(
        "More requests come than can be kept apart", "As many DPoP proofs as can be remembered have not aged out yet."
    ),
    "store_unavailable": Reason("A store that this request needs cannot be reached"),
    # 500
    "internal_failure": Reason("The request could not be processed"),
}

Challenge = Literal["none", "plain", "error"]


class Refusal(Exception):
    """Not let in, with the reason.

    ``status`` HTTP status; ``error`` the code of the body; ``challenge`` whether WWW-Authenticate is sent
    ("plain": without an error code); ``retry_after`` whole seconds or None; ``detail`` words of ours that make
    the hint concrete, for the log and for development answers, never taken from a token. ``provider`` is who judged,
    where it came that far; ``counted`` whether it has been held against the address it came from.
    """

    status: ClassVar[int] = 500
    error: ClassVar[str] = "server_error"
    challenge: ClassVar[Challenge] = "none"

    def __init__(
        self,
        reason: str,
        *,
        detail: str | None = None,
        retry_after: float | None = None,
        scopes: tuple[str, ...] = (),
    ) -> None:
        self.description, self.hint = REASONS[reason]
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
        self.retry_after = None if retry_after is None else max(1, int(-(-retry_after // 1)))
        self.scopes = scopes
        self.provider: str | None = None
        self.counted = False

    def again(self) -> Refusal:
        """The same refusal without a traceback, to be raised for another caller."""
        refusal = type(self)(self.reason)
        refusal.__dict__.update(self.__dict__)
        return refusal


class RequestInvalid(Refusal):
    """400: more than one credential, or a request that says two things at once."""

    status, error, challenge = 400, "invalid_request", "error"


class HeadersDisagree(RequestInvalid):
    """400: ``Mcp-Method``, ``Mcp-Name`` or the version say something else than the body (MCP transports 2026-07-28).
    The body is the JSON-RPC error of that code, for ``rpc_id``; ``INVALID_PARAMS`` where the body has no version."""

    INVALID_PARAMS: ClassVar[int] = -32602
    rpc_code: int = -32020
    rpc_id: str | int | None = None


class PayloadTooLarge(Refusal):
    """413 (RFC 9110 section 15.5.14)."""

    status, error = 413, "invalid_request"


class UnsupportedMediaType(Refusal):
    """415 (RFC 9110 section 15.5.16)."""

    status, error = 415, "invalid_request"


class UpgradeRequired(Refusal):
    """426 (RFC 9110 section 15.5.22): plain http where only https is served."""

    status, error = 426, "https_required"


class CredentialMissing(Refusal):
    """401 without an error code: nothing was presented (RFC 6750 section 3)."""

    status, error, challenge = 401, "unauthorized", "plain"


class TokenInvalid(Refusal):
    """401: what was presented is definitively not acceptable."""

    status, error, challenge = 401, "invalid_token", "error"


class ProofInvalid(Refusal):
    """401: the token may be good, but who shows it has not proved to hold its key (RFC 9449 section 7.1)."""

    status, error, challenge = 401, "invalid_dpop_proof", "error"


class NonceNeeded(ProofInvalid):
    """401: the proof is good and lacks the server's nonce, which comes with this answer (RFC 9449 section 9)."""

    error = "use_dpop_nonce"


class InsufficientScope(Refusal):
    """403: a good credential with too few permissions; ``scopes`` are all that would do."""

    status, error, challenge = 403, "insufficient_scope", "error"


class Forbidden(Refusal):
    """403 without a challenge: no other token of this caller would change the answer."""

    status, error = 403, "access_denied"


class Misdirected(Refusal):
    """421: the Host is not ours (RFC 9110 section 15.5.20)."""

    status, error = 421, "misdirected_request"


class OverQuota(Refusal):
    """429 (RFC 6585 section 4), with ``retry_after``. ``limits`` are the caller's quotas as they stand."""

    status, error = 429, "too_many_requests"
    limits: tuple[Limit, ...] = ()


class Unavailable(Refusal):
    """503: we cannot know. Never cached, never a 401 (a 401 makes clients delete good tokens).

    ``outage``: who would know was asked and gave no answer of its own, so that what it said before may count a little
    longer (MCP_HTTP_OUTAGE_GRACE). False in every doubt.
    """

    status, error = 503, "temporarily_unavailable"

    def __init__(
        self, reason: str, *, detail: str | None = None, retry_after: float | None = None, outage: bool = False
    ) -> None:
        super().__init__(reason, detail=detail, retry_after=retry_after)
        self.outage = outage


class InternalFailure(Refusal):
    """500: a mistake of ours, failed closed."""
