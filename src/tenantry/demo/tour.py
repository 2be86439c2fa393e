"""Everybody's turn over real HTTP: callers first, then those who must not get in, then those who want too much."""

from __future__ import annotations

from .cast import callers, denials, refusals
from .notes_server import POLICY
from .providers import everybody_else
from .requests import denial, http_client, refusal
from .rows import Report
from .stack import Say, Stack
from .trail import audited
from .visits import visits

_SIDE_BY_SIDE = ("bob", "erin")  # who sees which tools


async def tour(stack: Stack, say: Say) -> Report:
    """The whole of it; each row says whether it came out as it must."""
    everybody = callers(stack)
    named = len(everybody)
    if stack.all_providers:
        everybody += everybody_else(stack.idp, stack.url)
    rows, lists = await visits(stack.url, everybody, _SIDE_BY_SIDE, say)
    refused, denied = [], []
    async with http_client() as http:
        for case in refusals(stack):
            say(f"{case.case} ...")
            refused.append(await refusal(http, stack.url, case))
        for wish in denials(stack, everybody):
            say(f"{wish.caller} calls {wish.tool} ...")
            denied.append(await denial(http, stack.url, wish))
    say("reading the audit ...")
    audit = await audited(stack, rows, [*refused, *denied])
    return Report(
        stack.url,
        stack.idp.base_url,
        POLICY,
        tuple(rows[:named]),
        tuple(rows[named:]),
        tuple(refused),
        tuple(lists),
        tuple(denied),
        audit,
    )
