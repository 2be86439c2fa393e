"""What the tests of MCP_HTTP_OIDC_PROVIDERS share: a gate that trusts some of its issuers, and honest tokens."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.support import Door, World

from tenantry.errors import ConfigurationError
from tenantry.settings import Settings

PAGES = Path(__file__).parents[2] / "docs" / "providers"

# One honest token of each, whatever is changed about it.
Mint = Callable[..., str]


def mints(world: World) -> dict[str, Mint]:
    issuers = world.idp.issuers
    return {name: partial(getattr(issuers[name], issuers[name].kinds[0]), "ann") for name in issuers}


def a_door(world: World, name: str, *, without: tuple[str, ...] = (), settings: Any = None, **changes: Any) -> Door:
    """A gate that trusts the issuer ``name`` alone, by its entry with ``changes``."""
    entry = {**world.idp.issuers[name].entry(), **changes}
    for member in without:
        entry.pop(member, None)
    return world.door(only=[], oidc_providers=[entry], **(settings or {}))


def refused(entry: dict[str, Any], **changes: Any) -> str:
    """What the operator reads when a server is configured with this entry."""
    with pytest.raises(ConfigurationError) as caught:
        Settings(public_url="https://mcp.example.com/mcp", oidc_providers=[entry], **changes)
    return str(caught.value)


def settings_of_page(name: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings that the first shell block of a provider's page makes, as a production server reads them."""
    block = re.search(r"```sh\n(.*?)```", (PAGES / f"{name}.md").read_text(), re.DOTALL)
    assert block is not None
    for variable, quoted, plain in re.findall(r"^(MCP_HTTP_\w+)=(?:'([^']*)'|(\S+))$", block[1], re.MULTILINE):
        monkeypatch.setenv(variable, quoted or plain)
    return Settings()
