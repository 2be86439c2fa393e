"""The words of ``tenantry token explain``: what a check saw, and what usually is behind a refusal."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..core.claims import ClaimRules
    from ..core.jws import UnverifiedToken
    from ..settings import Settings
    from .explaining import Explanation

_LONGEST = 160  # characters of one claim
# Shown as they are; of the others only the names are, because a token may carry anything.
SHOWN_CLAIMS = "iss aud azp client_id sub email email_verified hd org_id scope permissions exp nbf iat".split()
_NEAR = 300  # seconds: within it, clocks are the first suspect


def shown(value: Any) -> str:
    """A value out of a token for a terminal: JSON in ASCII, so that it can move no cursor, and not too long."""
    text = json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def about(name: str, token: UnverifiedToken, claims: Mapping[str, Any], rules: ClaimRules, now: float) -> str:
    """What the check ``name`` (``JwtVerifier.checks``) looks at: found, and where it helps, accepted."""
    if name == "algorithm":
        return f"{shown(token.algorithm)}; accepted: {_list(rules.algorithms)}"
    if name == "type":
        accepted = _list(kind or "none" for kind in rules.types)
        return f"typ is {shown(token.type)}; accepted: {accepted}"
    if name in ("issuer", "audience"):
        claim, wanted = ("iss", rules.issuers) if name == "issuer" else ("aud", rules.audiences)
        return f"{_found(claims, claim)}; accepted: {_list(wanted)}"
    if name in ("authorized party", "client"):
        return _found(claims, "azp")
    if name == "subject":
        return _found(claims, "sub")
    if name == "organization":
        return _found(claims, "org_id")
    if name == "kind":
        marks = [mark for mark in ("nonce", "at_hash", "c_hash") if mark in claims]
        return f"has {' and '.join(marks)}, as ID tokens do" if marks else "no mark of an ID token"
    if name == "proof of possession":
        proof = "with which every request must be proved" if rules.bound else "whose proof is not asked for here"
        return f"cnf: it is bound to a key, {proof}" if "cnf" in claims else "not bound to a key"
    if name in ("expiry", "not before"):
        return _times(name, claims, rules.leeway, now)
    return ""


def _found(claims: Mapping[str, Any], name: str) -> str:
    return f"{name} is {shown(claims[name])}" if name in claims else f"no {name}"


def _list(values: Any) -> str:
    return ", ".join(sorted(values))


def _times(name: str, claims: Mapping[str, Any], leeway: float, now: float) -> str:
    if name == "not before":
        begins = [moment for moment in (_moment(claims, "nbf"), _moment(claims, "iat")) if moment is not None]
        if not begins:
            return "no nbf and no iat"
        return f"since {_clock(max(begins))}" if max(begins) <= now else f"not before {_clock(max(begins))}"
    expires = _moment(claims, "exp")
    if expires is None:
        return "no exp that is a date"
    if expires > now:
        return f"ends {_clock(expires)}, in {_span(expires - now)}"
    return f"ended {_clock(expires)}, {_span(now - expires)} ago (clock skew allowed: {leeway:g} s)"


def _moment(claims: Mapping[str, Any], name: str) -> float | None:
    value: Any = claims.get(name)
    return float(value) if type(value) in (int, float) and 0 <= value <= 10**11 else None


def _clock(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%SZ}"


def _span(seconds: float) -> str:
    for unit, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


def advice(told: Explanation, settings: Settings, now: float) -> list[str]:
    """What usually is behind it, the likeliest first; nothing for a token that is in order."""
    lines = list(told.suspicions)
    if told.refusal is not None:
        lines += filter(None, [told.refusal.hint, told.refusal.detail, *_usual(told, settings, now)])
    elif told.user is not None and not told.user.permissions:
        lines.append("It carries no permissions, so only what needs none may be called.")
    if told.user is not None and told.provider == "auth0" and {"scope", "permissions"} <= told.claims.keys():
        lines.append(
            f"scope and permissions are both in it: what counts is MCP_HTTP_AUTH0_PERMISSIONS_FROM="
            f"{settings.auth0_permissions_from}."
        )
    return list(dict.fromkeys(lines))


def _usual(told: Explanation, settings: Settings, now: float) -> list[str]:
    reason = told.refusal.reason if told.refusal else ""
    if reason == "token_kind_refused" and told.provider == "auth0":
        return ["This is an ID token, which is for the client that asked for it: send the access token."]
    if reason == "audience_mismatch":
        return _wrong_audience(told, settings)
    if reason == "client_mismatch":
        return ["It was issued to another app. If that is yours too, add it to MCP_HTTP_GOOGLE_CLIENT_ID."]
    if reason == "issuer_unknown":
        return _wrong_issuer(told)
    if reason in ("token_expired", "token_not_yet_valid"):
        return _clocks(told, reason, now)
    if reason in ("key_unknown", "signature_invalid"):
        return ["The issuer's name is right and the key is not: a token of another environment, or a forged one."]
    if reason == "token_rejected":
        return _rejected(told)
    if reason == "provider_not_configured":
        return ["Its maker is recognised, or it is no token at all, and no provider that is on takes such a one."]
    if reason == "api_key_invalid":
        return ["Unknown, revoked, not valid yet or mistyped: `tenantry keys list` shows the state of each key."]
    return []


def _wrong_audience(told: Explanation, settings: Settings) -> list[str]:
    if told.provider == "google":
        return ["It was issued to another app. If that is yours too, add it to MCP_HTTP_GOOGLE_CLIENT_ID."]
    if told.provider == "github":
        return ["It is of another GitHub app than MCP_HTTP_GITHUB_CLIENT_ID."]
    audience = told.claims.get("aud")
    if audience is not None and audience == told.claims.get("azp", audience) and "://" not in str(audience):
        return ["Its audience is a client, so it looks like an ID token: send the access token."]
    if told.provider != "auth0":
        return ["The client has to ask for one of the audiences that are accepted."]
    wanted = _list(settings.auth0_audience or ())
    return [f"The client has to ask for audience={wanted} (or resource=, see docs/providers/auth0.md)."]


def _wrong_issuer(told: Explanation) -> list[str]:
    known = ", ".join(told.issuers) or "none"
    return [f"Its issuer is {shown(told.claims.get('iss'))}; configured are: {known}."]


def _clocks(told: Explanation, reason: str, now: float) -> list[str]:
    names: Collection[str] = ("exp",) if reason == "token_expired" else ("nbf", "iat")
    distances = [abs(moment - now) for name in names if (moment := _moment(told.claims, name)) is not None]
    near = bool(distances) and min(distances) <= _NEAR
    clocks = ["That is close: compare this machine's clock with the issuer's (tenantry doctor does)."] if near else []
    return clocks + (["The client has to refresh it, or sign in again."] if reason == "token_expired" else [])


def _rejected(told: Explanation) -> list[str]:
    if told.provider == "github":
        return ["GitHub does not know it as a token of MCP_HTTP_GITHUB_CLIENT_ID: of another app, revoked or expired."]
    return ["Its provider refuses it: expired (Google's access tokens live an hour) or revoked."]
