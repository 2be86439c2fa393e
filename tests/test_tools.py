"""``whoami`` away from a host; on each host: ``tests/hosts``."""

from __future__ import annotations

import dataclasses

import pytest

from tenantry import whoami
from tenantry.context import user_variable
from tenantry.errors import CredentialMissing
from tenantry.model import Claims, MCPUserContext

pytestmark = pytest.mark.anyio

ANN = MCPUserContext(
    "google:ann",
    "google",
    "ann",
    "acme_com",
    email="ann@acme.com",
    name="Ann",
    permissions=frozenset({"b", "a"}),
    roles=frozenset({"y", "x"}),
    client_id="client",
    expires_at=1.5,
    claims=Claims.of({"secret": "claim"}),
)


async def test_whoami_says_who_what_for_and_until_when_and_nothing_of_the_claims() -> None:
    token = user_variable.set(ANN)
    told = dataclasses.asdict(await whoami())
    user_variable.reset(token)
    assert told == {
        "user_id": "google:ann",
        "provider": "google",
        "tenant_id": "acme_com",
        "email": "ann@acme.com",
        "permissions": ["a", "b"],
        "roles": ["x", "y"],
        "expires_at": 1.5,
    }


async def test_whoami_without_a_caller_is_refused() -> None:
    with pytest.raises(CredentialMissing):
        await whoami()
