"""GitHub: user tokens of our own OAuth app or GitHub App.

Sources: docs.github.com/rest/apps/oauth-applications ("Check a token"), /rest/users, /rest/users/emails,
"Rate limits for the REST API", "About authentication to GitHub".

``POST /applications/{client_id}/token`` is the only call that says whose app a token belongs to; ``GET /user``
answers for anybody's. The user is keyed by the numeric id: a login can be renamed and registered again by somebody
else, and the profile's address is whatever its owner typed.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote

from ..core.apikeys import crc62
from ..core.matching import GITHUB, Presented
from ..core.policy import is_permission, scopes_of
from ..core.tenancy import domain_of_email
from ..errors import ConfigurationError, TokenInvalid
from ..model import Claims, Identity, VerifiedClaims
from ..ports import Clock, Fetch, HttpRequest, HttpResponse, Observer
from .base import ProviderClient, text_of, user_id

PUBLIC_API = "https://api.github.com"
MAX_TOKEN_CHARACTERS = 4096  # GitHub announced longer ones; 40 is the past
_PERSONAL = ("ghp_", "github_pat_")
_CHECKED = re.compile(r"gh[oprsu]_([0-9A-Za-z]{30})([0-9A-Za-z]{6})")
_SUSPICIOUS = 5  # refusals in a row since the start that make our own client id or secret the suspect


@dataclass(frozen=True, slots=True)
class GitHubSettings:
    """``binding`` "app": only tokens of our own app; "none": those of *any* app and personal ones.

    ``host`` names an Enterprise Server, whose ids are its own; ``tenant_from_email`` makes the verified primary
    address's domain tenant evidence (one more call); ``checksum`` refuses 40-character tokens whose built-in
    checksum fails, without a call.
    """

    client_id: str = ""
    client_secret: str = ""
    binding: Literal["app", "none"] = "app"
    tenant_from_email: bool = False
    checksum: bool = True
    api_url: str = PUBLIC_API
    host: str | None = None

    def __post_init__(self) -> None:
        if self.binding == "app" and not (self.client_id and self.client_secret):
            raise ConfigurationError(
                "MCP_HTTP_GITHUB_ENABLED needs MCP_HTTP_GITHUB_CLIENT_ID and MCP_HTTP_GITHUB_CLIENT_SECRET: only "
                "with them can a token be proved to be of your own app."
            )


class GitHubProvider:
    """The provider "github"; ``user_id`` is ``github:<id>``, or ``github@<host>:<id>`` on an Enterprise Server."""

    name = GITHUB
    issuers: tuple[str, ...] = ()
    authorization_servers = ("https://github.com/login/oauth",)
    cacheable = True

    def __init__(self, settings: GitHubSettings, fetch: Fetch, clock: Clock, observe: Observer) -> None:
        self._settings = settings
        self._clock = clock
        self._client = ProviderClient(self.name, fetch, clock, observe)
        self.budget = self._client.budget
        self._id_space = self.name if settings.host is None else f"{self.name}@{settings.host}"
        self._refused_in_a_row: int | None = 0  # None once any token of ours was confirmed

    async def verify(self, presented: Presented) -> VerifiedClaims:
        token = presented.text
        self._refuse_offline(token)
        if self._settings.binding == "app":
            claims, expires_at = await self._check_app_token(token)
        else:
            claims, expires_at = await self._ask_user(token), None
        if self._settings.tenant_from_email:
            claims |= await self._ask_email(token)
        return VerifiedClaims(self.name, "access_token", claims["sub"], Claims.of(claims), expires_at)

    def identify(self, verified: VerifiedClaims) -> Identity:
        claims = verified.claims
        email = text_of(claims, "email")
        return Identity(
            user_id=user_id(self._id_space, verified.subject),
            provider=self.name,
            subject=verified.subject,
            email=email,
            email_verified=claims.get("email_verified") is True,
            name=text_of(claims, "name") or text_of(claims, "preferred_username"),
            picture=text_of(claims, "picture"),
            client_id=text_of(claims, "client_id"),
            permissions=scopes_of(claims.get("scope")),
            domain=_domain(email) if email else None,
        )

    def start(self) -> None:
        return None

    async def aclose(self) -> None:
        return None

    def _refuse_offline(self, token: str) -> None:
        """What can be refused without a call: several bad calls make GitHub refuse good tokens as well."""
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise TokenInvalid("token_too_large")
        if token.startswith("ghs_"):
            raise TokenInvalid("installation_token_refused")
        if token.startswith(_PERSONAL) and self._settings.binding == "app":
            raise TokenInvalid("personal_token_refused")
        checked = _CHECKED.fullmatch(token) if self._settings.checksum else None
        if checked is not None and crc62(checked[1]) != checked[2]:
            raise TokenInvalid("checksum_failed")

    async def _check_app_token(self, token: str) -> tuple[dict[str, Any], float | None]:
        """(claims, expiry) of a token that GitHub says is our app's."""
        settings = self._settings
        basic = base64.b64encode(f"{settings.client_id}:{settings.client_secret}".encode()).decode()
        url = f"{settings.api_url}/applications/{quote(settings.client_id, safe='')}/token"
        body = json.dumps({"access_token": token}).encode()
        headers = _headers(f"Basic {basic}") | {"content-type": "application/json"}
        response = await self._client.ask("app-token", HttpRequest("POST", url, headers, body))
        answer = self._app_token_answer(response)
        app = answer.get("app")
        if not isinstance(app, dict) or "client_id" not in app:
            self._client.unusable("app-token", "body")
        if app["client_id"] != settings.client_id:
            raise TokenInvalid("audience_mismatch")
        self._refused_in_a_row = None
        claims = _person(answer.get("user")) | {"client_id": settings.client_id, "scope": _scope(answer.get("scopes"))}
        expires_at = _expiry(answer.get("expires_at"))
        if expires_at is not None and expires_at <= self._clock.now():
            raise TokenInvalid("token_expired")
        return claims, expires_at

    def _app_token_answer(self, response: HttpResponse) -> dict[str, Any]:
        if response.status == 401:
            self._client.misconfigured("GitHub refuses MCP_HTTP_GITHUB_CLIENT_ID and MCP_HTTP_GITHUB_CLIENT_SECRET.")
        if response.status in (404, 422):
            self._count_refusal()
            raise TokenInvalid("token_rejected")
        if response.status != 200:
            self._client.unavailable("app-token", response)
        return self._client.object("app-token", response)

    def _count_refusal(self) -> None:
        """GitHub may answer a wrong secret with 404, as it does a foreign token: tell the operator, once."""
        if self._refused_in_a_row is None:
            return
        self._refused_in_a_row += 1
        if self._refused_in_a_row == _SUSPICIOUS:
            self._client.suspect(
                "Every GitHub token shown so far was refused: check MCP_HTTP_GITHUB_CLIENT_ID and "
                "MCP_HTTP_GITHUB_CLIENT_SECRET."
            )

    async def _ask_user(self, token: str) -> dict[str, Any]:
        """Whose token it is, without proof of the app (``binding`` "none")."""
        request = HttpRequest("GET", f"{self._settings.api_url}/user", _headers(f"Bearer {token}"))
        response = await self._client.ask("user", request, ours=False)
        if response.status != 200:
            self._refuse_or_wait("user", response)
        scopes = [scope.strip() for scope in response.headers.get("x-oauth-scopes", "").split(",")]
        return _person(self._client.object("user", response)) | {"scope": _scope(scopes)}

    async def _ask_email(self, token: str) -> dict[str, Any]:
        """The verified primary address, or nothing when the token may not see it."""
        request = HttpRequest("GET", f"{self._settings.api_url}/user/emails", _headers(f"Bearer {token}"))
        response = await self._client.ask("user/emails", request, ours=False)
        if response.status == 404 or (response.status == 403 and not _is_limit(response)):
            return {}
        if response.status != 200:
            self._refuse_or_wait("user/emails", response)
        # The strict parser reads objects; a list is the one member of one.
        answer = self._client.object("user/emails", _wrapped(response))
        entries = answer["list"]
        if type(entries) is not list or len(answer) != 1:
            self._client.unusable("user/emails", "body")
        primary = next((e for e in entries if isinstance(e, dict) and e.get("primary") is True), {})
        if primary.get("verified") is not True:
            return {}
        return {"email": primary.get("email"), "email_verified": True}

    def _refuse_or_wait(self, endpoint: str, response: HttpResponse) -> None:
        """401, or a 403 that is no limit, is about the token; everything else says nothing about it."""
        if response.status == 401 or (response.status == 403 and not _is_limit(response)):
            raise TokenInvalid("token_rejected")
        self._client.unavailable(endpoint, response)


def _headers(authorization: str) -> dict[str, str]:
    return {
        "authorization": authorization,
        "accept": "application/vnd.github+json",
        "x-github-api-version": "2022-11-28",
        "user-agent": "tenantry",  # GitHub answers 403 without one
    }


def _is_limit(response: HttpResponse) -> bool:
    """A primary or secondary limit, or the lock-out after many bad log-ins: GitHub uses 403 for all of them."""
    headers = response.headers
    if headers.get("x-ratelimit-remaining") == "0" or "retry-after" in headers:
        return True
    words = response.body.lower()
    return any(mark in words for mark in (b"rate limit", b"abuse", b"maximum number of login attempts"))


def _person(user: Any) -> dict[str, Any]:
    """OIDC names for GitHub's user object. Raises ``TokenInvalid`` when it is not a person with an id."""
    if not isinstance(user, Mapping) or type(user.get("id")) is not int or user.get("type", "User") != "User":
        raise TokenInvalid("subject_invalid")
    named = {"name": "name", "picture": "avatar_url", "preferred_username": "login"}
    claims = {ours: text_of(user, theirs) for ours, theirs in named.items()}
    return {"sub": str(user["id"])} | {name: value for name, value in claims.items() if value is not None}


def _scope(scopes: Any) -> str:
    return " ".join(filter(is_permission, scopes)) if isinstance(scopes, list) else ""


def _expiry(text: Any) -> float | None:
    """``expires_at`` in seconds since the epoch; None for a token without an end."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise TokenInvalid("claims_malformed") from None
    if moment.tzinfo is None:
        raise TokenInvalid("claims_malformed")
    return moment.timestamp()


def _wrapped(response: HttpResponse) -> HttpResponse:
    return HttpResponse(response.status, response.headers, b'{"list":' + response.body + b"}")


def _domain(email: str) -> str | None:
    try:
        return domain_of_email(email)
    except ValueError:
        return None
