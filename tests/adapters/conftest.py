"""A development identity provider on a socket, and a frozen clock."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.support import World, a_world


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with a_world() as world:
        yield world
