"""An OAuth client, step by step, so that a test can get one step wrong."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

VERIFIER = "a-verifier-of-at-least-forty-three-characters-0123456789"
CALLBACK = "http://127.0.0.1:3000/callback"
SERVER = "http://127.0.0.1:8000/mcp"


def s256(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def claims(token: str) -> dict[str, Any]:
    """The payload, unverified."""
    return json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))


def came_back(answer: httpx.Response) -> dict[str, str]:
    """What the redirect says; the test fails when the answer is none."""
    assert answer.status_code == 302, answer.text
    return {name: value for name, (value,) in parse_qs(urlsplit(answer.headers["location"]).query).items()}


class Relying:
    """A registered public client. ``changes`` replace a parameter, or with None leave it out."""

    def __init__(self, http: httpx.AsyncClient, client_id: str) -> None:
        self.http = http
        self.client_id = client_id

    async def authorize(self, **changes: str | list[str] | None) -> httpx.Response:
        usual = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": CALLBACK,
            "state": "a state",
            "scope": "openid offline_access notes:read",
            "code_challenge": s256(VERIFIER),
            "code_challenge_method": "S256",
            "resource": SERVER,
            "login_hint": "ann",
        }
        asked = {name: value for name, value in (usual | changes).items() if value is not None}
        return await self.http.get("/authorize", params=asked)

    async def code(self, **changes: str | list[str] | None) -> str:
        return came_back(await self.authorize(**changes))["code"]

    async def token(self, **form: str | list[str] | None) -> httpx.Response:
        usual = {"client_id": self.client_id}
        sent = {name: value for name, value in (usual | form).items() if value is not None}
        return await self.http.post("/oauth/token", data=sent)

    async def redeem(self, code: str, **changes: str | list[str] | None) -> httpx.Response:
        usual = {"grant_type": "authorization_code", "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
        return await self.token(**(usual | {"code": code} | changes))

    async def refresh(self, refresh_token: str, **changes: str | None) -> httpx.Response:
        return await self.token(**({"grant_type": "refresh_token", "refresh_token": refresh_token} | changes))

    async def sign_in(self, **changes: str | list[str] | None) -> dict[str, Any]:
        """The token endpoint's answer to a sign-in in which nothing goes wrong."""
        answer = await self.redeem(await self.code(**changes))
        assert answer.status_code == 200, answer.text
        return answer.json()


async def register(http: httpx.AsyncClient, **metadata: Any) -> httpx.Response:
    usual = {
        "redirect_uris": [CALLBACK],
        "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"],
    }
    sent = {name: value for name, value in (usual | metadata).items() if value is not None}
    return await http.post("/oidc/register", json=sent)


async def registered(http: httpx.AsyncClient, **metadata: Any) -> Relying:
    return Relying(http, (await register(http, **metadata)).json()["client_id"])
