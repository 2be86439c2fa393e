"""GitHub, as a token validator meets it: no OIDC, every question is an API call.

Where real bugs hide, it is faithful: checksummed tokens of every kind, the app-token check as the only proof
of audience, a profile address that is null, limits answered with 403, logins that are renamed and recycled.
https://docs.github.com/en/rest/apps/oauth-applications
"""

from __future__ import annotations

import hashlib
import math
import secrets
import zlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from starlette.responses import JSONResponse, PlainTextResponse, Response

from .calls import Call
from .clock import Clock
from .endpoints import Endpoint
from .faults import Fault
from .keyring import b64url
from .people import OCTO, GitHubAccount, People, Person

CLIENT_ID: Final = "Iv1.d3v1dp0123456789"
CLIENT_SECRET: Final = "devidp-github-client-secret-0123456789ab"
OTHER_CLIENT_ID: Final = "Iv1.c001a990123456789"

_BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_DOCS: Final = "https://docs.github.com/rest"
_HOUR: Final = 3600
_EXPIRES_BY_DEFAULT: Final = {"ghu_": 8 * _HOUR}
_APP_BOUND: Final = ("gho_", "ghu_")
_SCOPED: Final = ("gho_", "ghp_")


def checksummed(prefix: str) -> str:
    """``prefix`` + 30 random base62 characters + their CRC-32 in base62, padded with ``0`` to 6: 40 in all.

    https://github.blog/engineering/platform-security/behind-githubs-new-authentication-token-formats/
    """
    random = _random62(30)
    return prefix + random + _base62(zlib.crc32(random.encode())).rjust(6, "0")


def spelled(prefix: str) -> str:
    """A new token of a kind. A fine-grained one (93 characters) has no checksum that can be checked."""
    if prefix == "github_pat_":
        return f"{prefix}{_random62(22)}_{_random62(59)}"
    return checksummed(prefix)


def _random62(length: int) -> str:
    return "".join(secrets.choice(_BASE62) for _ in range(length))


def _base62(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 62)
        digits = _BASE62[digit] + digits
    return digits


@dataclass(slots=True)
class _Grant:
    """What one token stands for. ``expires_at`` is infinite for a token that does not expire."""

    prefix: str
    person: Person
    client_id: str
    scopes: tuple[str, ...]
    created_at: float
    expires_at: float
    revoked: bool = False


class GitHub:
    """The provider, and the mint of its tokens. The attributes are knobs:

    ``bad_basic_status``: 401, or 404 as GitHub also answers to wrong client credentials;
    ``lockout_after``, ``lockout_seconds``: that many bad tokens lock everybody out for a while;
    ``hourly_limit``: calls of one user in an hour.
    """

    name: Final = "github"

    def __init__(self, *, clock: Clock, people: People, client_id: str, client_secret: str) -> None:
        self.client_id = client_id
        self.apps = {client_id: client_secret, OTHER_CLIENT_ID: "the-secret-of-somebody-elses-app"}
        self.bad_basic_status = 401
        self.lockout_after = 10
        self.lockout_seconds = 300.0
        self.hourly_limit = 5000
        self._clock = clock
        self._people = people
        self._grants: dict[str, _Grant] = {}
        self._logins: dict[int, str] = {}
        self._bad_logins: list[float] = []
        self._used: dict[tuple[int, int], int] = {}

    # Minting

    def token(
        self,
        person: Person | str,
        *,
        prefix: str = "gho_",
        client_id: str | None = None,
        scopes: Iterable[str] = ("read:user", "user:email"),
        expires_in: float | None = None,
    ) -> str:
        """A token of any kind: ``gho_`` (OAuth app), ``ghu_`` (GitHub App, for a user), ``ghp_`` and
        ``github_pat_`` (personal), ``ghs_`` (installation), ``ghr_`` (refresh).

        ``client_id`` is the app it belongs to (ours unless said otherwise; personal tokens belong to none).
        ``expires_in`` None means the kind's default: 8 hours for ``ghu_``, never for others; ``math.inf`` is never.
        For a ``ghu_`` token, "user:email" among ``scopes`` stands for the app's permission to read addresses.
        """
        found = self._people.find(person)
        found.at_github()
        return self._grant(spelled(prefix), prefix, found, client_id, scopes, expires_in)

    def installation_token(self, *, long: bool = False) -> str:
        """A ``ghs_`` token, which is no user's. ``long``: the form of 2026, ``ghs_<app id>_<jwt>``, with two
        dots and about 520 characters, which a router must not take for a JWT."""
        if not long:
            return self.token(OCTO, prefix="ghs_", expires_in=_HOUR)
        jwt = ".".join(
            b64url(part) for part in (b'{"alg":"RS256","typ":"JWT"}', secrets.token_bytes(90), secrets.token_bytes(256))
        )
        return self._grant(f"ghs_1234567_{jwt}", "ghs_", OCTO, None, (), _HOUR)

    def revoke(self, token: str) -> None:
        """Withdraw a token: 404 at the app-token check, 401 elsewhere."""
        if token not in self._grants:
            raise LookupError("not a token of this provider")
        self._grants[token].revoked = True

    def rename(self, person: Person | str, login: str) -> None:
        """Change the login; the id stays."""
        self._logins[self._people.find(person).at_github().id] = login

    def recycle(self, login: str, *, key: str = "stranger") -> Person:
        """Somebody new registers a login that was given up: the same login, another id."""
        account = GitHubAccount(secrets.randbelow(10**8) + 10**8, login)
        return self._people.add(replace(OCTO, key=key, name="Somebody Else", why="recycled login", github=account))

    def login_of(self, person: Person | str) -> str:
        """The login as it is now."""
        account = self._people.find(person).at_github()
        return self._logins.get(account.id, account.login)

    def unlock(self) -> None:
        """Forget the failed logins."""
        self._bad_logins.clear()

    def _grant(
        self,
        token: str,
        prefix: str,
        person: Person,
        client_id: str | None,
        scopes: Iterable[str],
        expires_in: float | None,
    ) -> str:
        now = self._clock.now()
        lifetime = _EXPIRES_BY_DEFAULT.get(prefix, math.inf) if expires_in is None else expires_in
        self._grants[token] = _Grant(prefix, person, client_id or self.client_id, tuple(scopes), now, now + lifetime)
        return token

    # Answering

    def endpoints(self) -> list[Endpoint]:
        """What is served, at the root and below the base path of GitHub Enterprise Server."""
        return [
            Endpoint("app_token", _both("/applications/{client_id}/token"), self._app_token, ("POST", "DELETE")),
            Endpoint("user", _both("/user"), self._answering_users(self._user)),
            Endpoint("user_emails", _both("/user/emails"), self._answering_users(self._user_emails)),
        ]

    def limited(self, fault: Fault) -> Response:
        """403 (or the status that was asked for), primary or secondary, in GitHub's words."""
        code = fault.status or 403
        if fault.secondary:
            headers = {} if fault.retry_after is None else {"retry-after": str(fault.retry_after)}
            return _message(
                code,
                "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.",
                docs=f"{_DOCS}/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits",
                headers=headers,
            )
        wait = 60 if fault.retry_after is None else fault.retry_after
        return self._primary_limit("API rate limit exceeded.", code, wait)

    def _app_token(self, call: Call) -> Response:
        """``POST`` checks, ``DELETE`` revokes; both only for tokens of the app that authenticates."""
        app = self._authenticated_app(call)
        if app is None:
            words = "Bad credentials" if self.bad_basic_status == 401 else "Not Found"
            return _message(self.bad_basic_status, words)
        token = (call.json() or {}).get("access_token")
        if not isinstance(token, str) or not token:
            return _message(422, "Validation Failed")
        grant = self._live(token)
        if grant is None or grant.prefix not in _APP_BOUND or grant.client_id != app:
            return _message(404, "Not Found")
        if call.method == "DELETE":
            grant.revoked = True
            return Response(status_code=204)
        return JSONResponse(self._authorization(token, grant))

    def _authenticated_app(self, call: Call) -> str | None:
        client_id, secret = call.basic() or ("", "")
        known = self.apps.get(client_id)
        return client_id if known == secret and client_id == call.params["client_id"] else None

    def _authorization(self, token: str, grant: _Grant) -> dict[str, Any]:
        created = _iso(grant.created_at)
        return {
            "id": 1,
            "url": "https://api.github.com/authorizations/1",
            # A GitHub App's tokens have permissions, not scopes.
            "scopes": list(grant.scopes) if grant.prefix in _SCOPED else [],
            "token": token,
            "token_last_eight": token[-8:],
            "hashed_token": hashlib.sha256(token.encode()).hexdigest(),
            "app": {"client_id": grant.client_id, "name": "our app", "url": "https://mcp.example"},
            "note": None,
            "note_url": None,
            "updated_at": created,
            "created_at": created,
            "fingerprint": None,
            "expires_at": None if math.isinf(grant.expires_at) else _iso(grant.expires_at),
            "user": self._account(grant.person),
        }

    def _answering_users(self, answer: Callable[[_Grant], Response]) -> Callable[[Call], Response]:
        """What every call with a user's token goes through before its own answer."""

        def answering(call: Call) -> Response:
            if not call.headers.get("user-agent"):
                return PlainTextResponse(_NO_USER_AGENT, 403)
            if not call.token:
                return _message(401, "Requires authentication")
            grant = self._live(call.token)
            if self._locked_out():
                return _message(403, "Maximum number of login attempts exceeded. Please try again later.")
            if grant is None or grant.prefix == "ghr_":
                self._bad_logins.append(self._clock.now())
                return _message(401, "Bad credentials")
            if grant.prefix == "ghs_":
                return _message(403, "Resource not accessible by integration")
            return self._within_limit(grant, answer)

        return answering

    def _within_limit(self, grant: _Grant, answer: Callable[[_Grant], Response]) -> Response:
        user_id, now = self._account(grant.person)["id"], self._clock.now()
        window = (user_id, int(now // _HOUR))
        used = self._used[window] = self._used.get(window, 0) + 1
        if used > self.hourly_limit:
            return self._primary_limit(f"API rate limit exceeded for user ID {user_id}.", 403, int(_HOUR - now % _HOUR))
        response = answer(grant)
        response.headers.update(_limit_headers(self.hourly_limit, used, (window[1] + 1) * _HOUR))
        response.headers.update(_grant_headers(grant))
        return response

    def _user(self, grant: _Grant) -> Response:
        return JSONResponse(
            {
                **self._account(grant.person),
                "site_admin": False,
                "name": grant.person.name,
                "email": None,  # the public profile address: the user chooses it, most choose none
                "created_at": "2011-01-25T18:44:36Z",
                "updated_at": "2026-11-01T00:00:00Z",
                "two_factor_authentication": True,
            }
        )

    def _user_emails(self, grant: _Grant) -> Response:
        if not {"user", "user:email"} & set(grant.scopes):
            if grant.prefix in _SCOPED:
                return _message(404, "Not Found")
            return _message(403, "Resource not accessible by integration")
        account = grant.person.at_github()
        return JSONResponse([asdict(row) for row in account.emails])

    def _account(self, person: Person) -> dict[str, Any]:
        account = person.at_github()
        node = b64url(f"04:User{account.id}".encode())
        return {"login": self.login_of(person), "id": account.id, "node_id": node, "type": "User"}

    def _live(self, token: str) -> _Grant | None:
        grant = self._grants.get(token)
        return grant if grant and not grant.revoked and grant.expires_at > self._clock.now() else None

    def _locked_out(self) -> bool:
        since = self._clock.now() - self.lockout_seconds
        return sum(at > since for at in self._bad_logins) >= self.lockout_after

    def _primary_limit(self, words: str, code: int, seconds: int) -> Response:
        headers = _limit_headers(self.hourly_limit, self.hourly_limit, int(self._clock.now()) + seconds)
        return _message(code, words, docs=f"{_DOCS}/overview/rate-limits-for-the-rest-api", headers=headers)


_NO_USER_AGENT: Final = (
    "Request forbidden by administrative rules. Please make sure your request has a User-Agent header "
    "(https://docs.github.com/en/rest/overview/resources-in-the-rest-api#user-agent-required)."
)


def _both(path: str) -> tuple[str, str]:
    return path, f"/api/v3{path}"


def _message(code: int, words: str, *, docs: str = _DOCS, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"message": words, "documentation_url": docs, "status": str(code)}, code, headers)


def _limit_headers(limit: int, used: int, reset: int) -> dict[str, str]:
    return {
        "x-ratelimit-limit": str(limit),
        "x-ratelimit-remaining": str(max(0, limit - used)),
        "x-ratelimit-used": str(used),
        "x-ratelimit-reset": str(reset),
        "x-ratelimit-resource": "core",
    }


def _grant_headers(grant: _Grant) -> dict[str, str]:
    """Scopes for the kinds that have them, the client for OAuth apps only, the end for tokens that end."""
    headers = {"x-github-request-id": secrets.token_hex(8)}
    if grant.prefix in _SCOPED:
        headers["x-oauth-scopes"] = ", ".join(grant.scopes)
    if grant.prefix == "gho_":
        headers["x-oauth-client-id"] = grant.client_id
    if not math.isinf(grant.expires_at):
        end = datetime.fromtimestamp(grant.expires_at, UTC)
        headers["github-authentication-token-expiration"] = f"{end:%Y-%m-%d %H:%M:%S} UTC"
    return headers


def _iso(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
