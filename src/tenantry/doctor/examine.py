"""Run the checks, whatever happens to one of them, and put what was found together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import ConfigurationError
from .findings import Finding, Grade, error, grade, ok, warning
from .inside import CHECKS as INSIDE
from .inside.here import Here
from .outside import CHECKS, Check
from .outside.asking import initialize
from .outside.probe import NoReply, Probe, Stopped

if TYPE_CHECKING:
    from ..settings import Settings


@dataclass(frozen=True, slots=True)
class Report:
    """``url`` None where only the settings were looked at; ``grade`` is of the running server, None without one or when
    not everything could be looked at; ``requests`` and ``seconds`` are what the look from outside took."""

    findings: tuple[Finding, ...]
    url: str | None = None
    grade: Grade | None = None
    requests: int = 0
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        """Grade A or B of the server that was asked for, and no error anywhere."""
        graded = self.url is None or self.grade in ("A", "B")
        return graded and not any(finding.state == "error" for finding in self.findings)


async def examine_server(probe: Probe) -> Report:
    """Everything that can be seen of a running server from outside."""
    findings: list[Finding] = []
    try:
        first = await initialize(probe)
    except (NoReply, Stopped) as failure:
        findings.append(error("reachable", f"{probe.target.url}: {failure}."))
        return Report(tuple(findings), probe.target.url, None, probe.requests, probe.seconds)
    if first.status == 404:
        findings.append(error("reachable", f"POST {probe.target.path} is a 404: the MCP endpoint is elsewhere."))
        return Report(tuple(findings), probe.target.url, None, probe.requests, probe.seconds)
    for check in CHECKS:
        findings += await _made(check, probe)
    findings += [error("answers", f"{probe.shown(asked)}: {why}.") for asked, why in probe.failures.items()]
    if probe.stopped is not None:
        findings.append(warning("rate-limit", f"Not everything could be looked at: {probe.stopped}."))
    worth = grade(findings, complete=probe.stopped is None)
    return Report(tuple(findings), probe.target.url, worth, probe.requests, probe.seconds)


async def _made(check: Check, probe: Probe) -> list[Finding]:
    """What a check found until it could not go on; why not is in ``probe``. A mistake of ours over what some server
    answers must not cost the rest of the report."""
    findings: list[Finding] = []
    try:
        async for finding in check(probe):
            findings.append(finding)  # noqa: PERF401 - what came before a failure is kept
    except (Stopped, NoReply):
        pass
    except Exception as mistake:
        words = f"The doctor's check {check.__name__} stumbled over an answer ({type(mistake).__name__})."
        findings.append(warning("answers", words, "Please report it: it is a mistake of the doctor's."))
    return findings


async def examine_settings(environ: Mapping[str, str]) -> Report:
    """The settings of this process's environment and what they name; ``environ`` tells the platform. What keeps the
    server from starting is a finding, one for each mistake."""
    from ..adapters.http import HttpFetch
    from ..settings import Settings

    try:
        settings = Settings()
        _assembled(settings)
    except ConfigurationError as problem:
        return Report(tuple(error("settings", line) for line in str(problem).splitlines()))
    findings = [ok("settings", "The settings are complete: the server would start.")]
    fetch = HttpFetch(allow_loopback_http=settings.development)
    here = Here(settings, environ, fetch)
    try:
        for check in INSIDE:
            findings += [finding async for finding in check(here)]
    finally:
        await fetch.aclose()
    return Report(tuple(findings))


def _assembled(settings: Settings) -> None:
    """Put everything together as the server would, but for the audit, which would begin a file. Starts nothing. Raises
    ``ConfigurationError``."""
    from ..adapters.clock import SystemClock
    from ..adapters.http import HttpFetch
    from ..assemble import assemble
    from ..outside import Outside

    quiet = Outside(SystemClock(), HttpFetch(), lambda _: None)
    assemble(settings.model_copy(update={"audit_sinks": None}), quiet)
