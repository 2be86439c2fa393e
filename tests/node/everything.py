"""The MCP SDK's everything-server, bare and behind gates, for the conformance suite: ``python everything.py FILE``.

The suite cannot send a credential. What it leaves out is added here in front of the gate, as a proxy would. The first
line says where each one listens; it ends with its standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from tenantry import Settings, TenantryMiddleware
from tenantry.core.rules import KINDS, Rule, Rules
from tenantry.devidp.loopback import BASE_URL
from tenantry.testing import DevIdp, serve_on_loopback

KEY = "Yq7vB2nX9sLd4KfT6hWc1ZrP8mJg3Ae5"  # made up
PLENTY = "100000/60"
AUDIT = "audit.jsonl"
PROXY = {b"x-forwarded-proto": b"https", b"x-forwarded-for": b"198.51.100.7", b"x-real-ip": b"198.51.100.7"}
ANONYMOUS = ["tools/list", "prompts/list", "resources/list", "resources/templates/list", "server/discover"]


def everything(path: str) -> ModuleType:
    """A server of its own each time: it keeps its sessions and events in the module."""
    spec = importlib.util.spec_from_file_location("everything_server", path)
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{path} is not Python")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    @module.mcp.tool()
    def kept_from_all() -> str:
        """What a rule hides: so that a test sees that lists are filtered."""
        return "seen"

    return module


def app_of(path: str, **options: Any) -> Any:
    made = everything(path)
    # As its own command line runs it.
    return made.mcp.streamable_http_app(event_store=made.event_store, retry_interval=100, **options)


def sending(app: Callable[..., Any], headers: dict[bytes, bytes], *, but: Sequence[str] = ()) -> Callable[..., Any]:
    """``app`` behind what adds ``headers`` to each request, ``but`` to those that say they are of these methods."""

    async def proxied(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and dict(scope["headers"]).get(b"mcp-method", b"").decode("latin-1") not in but:
            scope = {**scope, "headers": [*scope["headers"], *headers.items()]}
        await app(scope, receive, send)

    return proxied


def rules(**requirement: Any) -> Rules:
    needed = [Rule("tool", "kept_*", permissions=["nobody:has"])]
    return Rules(needed + [Rule(kind, "*", **requirement) for kind in KINDS])


def gates(path: str, idp: DevIdp, folder: Path) -> dict[str, Callable[[str], Any]]:
    """Each from the address it will have. The gates check Host and Origin, so that the SDK need not."""

    def app() -> Any:
        return app_of(path, host="0.0.0.0")

    def signed_in(base_url: str) -> Any:
        """In development, with OAuth: no rules, so that no body is read."""
        settings = Settings(
            environment="development",
            auth0_domain=idp.base_url,
            auth0_audience=idp.auth0.audience,
            rate_limit_tenant=PLENTY,
        )
        token = idp.auth0.access_token("ann").encode()
        return sending(TenantryMiddleware(app(), settings=settings), {b"authorization": b"Bearer " + token})

    def everything_on(base_url: str) -> Any:
        """In production, behind a proxy that ends TLS: rules, every quota, audit, metrics."""
        host = base_url.partition("://")[2]
        quotas = dict.fromkeys(["tenant", "user", "api_key", "anonymous"], PLENTY)
        settings = Settings(
            environment="production",
            api_keys={KEY: {"name": "suite", "tenant_id": "suite", "permissions": ["suite:use"]}},
            allowed_hosts=host,
            allowed_origins=base_url,
            trusted_proxies="127.0.0.1",
            audit_sinks=f"file:{folder / AUDIT}",
            audit_hmac_key="W5tR8yU1iO4pA7sD0fG3hJ6kL9zX2cV5",
            metrics="on",
            **{f"rate_limit_{name}": quota for name, quota in quotas.items()},
        )
        gate = TenantryMiddleware(app(), settings=settings, rules=rules(permissions=["suite:use"]))
        return sending(gate, {b"x-api-key": KEY.encode(), **PROXY})

    def partly_open(base_url: str) -> Any:
        """Lists need no credential, and are asked for without one."""
        quotas = {"rate_limit_anonymous": PLENTY, "rate_limit_tenant": PLENTY}
        keys, methods = {KEY: {"name": "suite"}}, ",".join(ANONYMOUS)
        settings = Settings(environment="development", api_keys=keys, anonymous_methods=methods, **quotas)
        return sending(TenantryMiddleware(app(), settings=settings), {b"x-api-key": KEY.encode()}, but=ANONYMOUS)

    return {"signed-in": signed_in, "everything-on": everything_on, "partly-open": partly_open}


class _AtItsAddress:
    """An app that is made when its address is known, which is when its lifespan starts."""

    def __init__(self, make: Callable[[str], Any]) -> None:
        self._make = make

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            self._app = self._make(scope["extensions"][BASE_URL])
        await self._app(scope, receive, send)


async def serve(path: str) -> None:
    idp = DevIdp()
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        await stack.enter_async_context(idp.serve())
        served = {"audit": str(folder / AUDIT)}
        for name, make in {"bare": lambda _: app_of(path), **gates(path, idp, folder)}.items():
            served[name] = await stack.enter_async_context(serve_on_loopback(_AtItsAddress(make)))
        print(json.dumps(served), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    logging.disable()  # drawing what the server logs takes longer than serving
    warnings.simplefilter("ignore")  # it also uses what newer revisions deprecate
    asyncio.run(serve(sys.argv[1]))
