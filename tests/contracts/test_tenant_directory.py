"""ports.TenantDirectory: a tenant is served, or its caller is told nothing but no."""

from __future__ import annotations

from typing import get_args

import pytest

from tenantry.errors import Forbidden
from tenantry.model import Tenant, TenantSource
from tenantry.ports import TenantDirectory
from tenantry.testing import NamedDirectory, OpenDirectory

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[OpenDirectory, NamedDirectory], ids=["open", "named"])
def directory(request: pytest.FixtureRequest) -> TenantDirectory:
    made: TenantDirectory = request.param()
    return made


@pytest.mark.parametrize("source", get_args(TenantSource))
async def test_a_tenant_that_the_operator_named_is_served(directory: TenantDirectory, source: TenantSource) -> None:
    await directory.admit(Tenant("acme_example", source, named=True))


async def test_a_directory_answers_the_same_each_time(directory: TenantDirectory) -> None:
    async def answer() -> type[BaseException] | None:
        try:
            await directory.admit(Tenant("acme_example", "domain", named=False))
        except Forbidden as refusal:
            return type(refusal)
        return None

    assert await answer() == await answer()


@pytest.mark.parametrize("source", get_args(TenantSource))
async def test_only_the_open_one_serves_strangers(source: TenantSource) -> None:
    stranger = Tenant("acme_example", source, named=False)
    await OpenDirectory().admit(stranger)
    with pytest.raises(Forbidden) as caught:
        await NamedDirectory().admit(stranger)
    assert (caught.value.status, caught.value.challenge) == (403, "none")
