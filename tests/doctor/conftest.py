"""The doctor at work on servers of this process, and the servers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from tests.doctor.exemplary import Exemplary

from tenantry.doctor.examine import Report, examine_server
from tenantry.doctor.outside.probe import Probe
from tenantry.doctor.outside.target import Target
from tenantry.testing import serve_on_loopback

PROXY = ("x-forwarded-proto", "https")


async def look(url: str, *, headers: Sequence[tuple[str, str]] = (), **options: Any) -> Report:
    """What the doctor finds from outside."""
    async with Probe(Target.of(url, headers), **options) as probe:
        report = await examine_server(probe)
    assert not [finding.text for finding in report.findings if "stumbled" in finding.text]
    return report


async def look_at(server: Exemplary, **options: Any) -> Report:
    """The same of one of our small servers."""
    async with serve_on_loopback(server, server_header=False, date_header=False) as base:
        server.base = base
        return await look(f"{base}/mcp", **options)


def bad(report: Report) -> set[tuple[str, str]]:
    """(id, state) of everything that lowers a grade."""
    return {(finding.id, finding.state) for finding in report.findings if finding.state in ("warning", "error")}


def states(report: Report) -> dict[str, set[str]]:
    """The states of each id."""
    found: dict[str, set[str]] = {}
    for finding in report.findings:
        found.setdefault(finding.id, set()).add(finding.state)
    return found


def text_of(report: Report, subject: str) -> str:
    return " ".join(finding.text for finding in report.findings if finding.id == subject)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
