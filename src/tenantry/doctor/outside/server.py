"""The server itself: time, size, health, and what its answers give away."""

from __future__ import annotations

import re
import statistics
from collections.abc import AsyncIterator

from ..clocks import skew_of, told
from ..findings import Finding, error, note, ok, warning
from .asking import initialize, refusal
from .probe import NoReply, Probe, Reply
from .wire import announce_a_large_body

HEALTH = ("/livez", "/readyz", "/healthz", "/health")
_SKEW, _BAD_SKEW = 30, 300  # seconds; a Date has whole ones
_SLOW = 1.0
_LONGEST_HEALTH = 2048  # bytes
_TELLING = re.compile(
    r"postgres(?:ql)?://|redis://|mysql://|traceback|hostname|\bpassword|\bsecret|[\"']?version[\"']?\s*[:=]|"
    r"\b(?:10|127|192\.168)\.\d+\.\d+\b",
    re.IGNORECASE,
)
_TRACE = re.compile(
    r"Traceback \(most recent call last\)|File \"[^\"]+\", line \d+|^\s+at [\w.$<>]+ ?\(.*:\d+:\d+\)|"
    r"\bat [\w.$]+\([\w.]+\.java:\d+\)|goroutine \d+ \[running\]",
    re.MULTILINE,
)
_VERSIONED = re.compile(r"\d+\.\d+|/\d")


async def the_clock_is_right(probe: Probe) -> AsyncIterator[Finding]:
    reply = await initialize(probe)
    skew = skew_of(reply.get("date"), reply.moment)
    if skew is None:
        yield note("clock", "Answers carry no Date: nobody can compare clocks.")
    elif abs(skew) > _BAD_SKEW:
        yield error("clock", f"The server's clock is {told(skew)} ours.")
    elif abs(skew) > _SKEW:
        yield warning("clock", f"The server's clock is {told(skew)} ours.")
    else:
        yield ok("clock", "The server's clock is ours to within 30 s.")


async def answers_are_quick(probe: Probe) -> AsyncIterator[Finding]:
    """Looks at what came; asks nothing."""
    seconds = sorted(reply.seconds for reply in probe.replies)
    if not seconds:
        return
    middle, longest = statistics.median(seconds), seconds[-1]
    text = (
        f"{len(seconds)} answers, half of them within {middle * 1000:.0f} ms, the slowest after {longest * 1000:.0f}."
    )
    if middle > _SLOW:
        yield note("latency", text, "Look for what is slow before the first byte: refusals cost nothing.")
    else:
        yield ok("latency", text)


async def large_bodies_are_refused_early(probe: Probe) -> AsyncIterator[Finding]:
    probe.check_budget()
    status = await announce_a_large_body(probe.target, probe.tls)
    if status is None or status == 100:
        yield warning(
            "body-limit", "A stranger who announces 100 MB is waited for: the body is read before the refusal."
        )
    elif status == 0:
        yield ok("body-limit", "A stranger who announces 100 MB is hung up on.")
    else:
        yield ok("body-limit", f"A stranger who announces 100 MB is answered at once ({status}).")


async def refusals_have_an_id(probe: Probe) -> AsyncIterator[Finding]:
    reply = await refusal(probe)
    if reply is None:
        return
    named = [name for name, _ in reply.headers if re.search(r"request-id|correlation-id|trace-id|cf-ray", name)]
    if named or '"request_id"' in reply.text:
        yield ok("request-id", "A refusal carries an id to look for in the log.")
    else:
        yield note("request-id", "A refusal carries no id to look for in the log.", "Send an X-Request-ID.")


async def health_is_open_and_quiet(probe: Probe) -> AsyncIterator[Finding]:
    open_paths, telling = [], []
    for path in HEALTH:
        try:
            reply = await probe.ask("GET", probe.target.at(path))
        except NoReply:
            continue
        if reply.success or reply.status == 503:
            open_paths.append(f"{path} ({reply.status})")
            if _tells(reply):
                telling.append(path)
    if open_paths:
        yield ok("health", f"Open without a token: {', '.join(open_paths)}.")
    else:
        yield note(
            "health", f"None of {', '.join(HEALTH)} is open.", "Give your platform a health path without a token."
        )
    if telling:
        yield warning("health-quiet", f"{telling[0]} tells of versions, hosts or more than 2 kB.")
    elif open_paths:
        yield ok("health-quiet", "Health answers tell nothing of the inside.")


def _tells(reply: Reply) -> bool:
    return len(reply.body) > _LONGEST_HEALTH or _TELLING.search(reply.text) is not None


async def headers_name_no_version(probe: Probe) -> AsyncIterator[Finding]:
    reply = await initialize(probe)
    said = {name: value for name in ("server", "x-powered-by", "x-aspnet-version") if (value := reply.get(name))}
    versions = [f"{name}: {probe.shown(value)}" for name, value in said.items() if _VERSIONED.search(value)]
    if versions:
        yield warning("server-header", f"Answers carry {', '.join(versions)}.")
    elif said:
        yield note(
            "server-header", f"Answers carry {', '.join(f'{name}: {probe.shown(said[name])}' for name in said)}."
        )
    else:
        yield ok("server-header", "No header names a product.")


async def no_answer_holds_a_stack_trace(probe: Probe) -> AsyncIterator[Finding]:
    """Looks at what came; asks nothing."""
    for reply in probe.replies:
        if _TRACE.search(reply.text):
            yield error("stack-trace", f"An answer ({reply.status}) holds a stack trace.")
            return
    yield ok("stack-trace", "No answer holds a stack trace.")
