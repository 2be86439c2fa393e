"""Does anybody get in without a token, and are those who do not refused as clients need it?"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

from ..findings import Finding, error, note, ok, warning
from .asking import (
    CALL,
    INITIALIZE,
    INITIALIZED,
    LIST,
    VERSION,
    every_method,
    initialize,
    let_in,
    listed,
    refuses_inside,
)
from .probe import Probe, Reply
from .target import Header


async def refusals_have_the_right_status(probe: Probe) -> AsyncIterator[Finding]:
    replies = await every_method(probe)
    wrong = [f"{method} {_seen(reply)}" for method, reply in replies.items() if _is_wrong(method, reply)]
    if wrong:
        yield error("refusal-status", f"Without a token: {listed(wrong)}; clients need 401.")
    odd = [f"{method} {reply.status}" for method, reply in replies.items() if _is_odd(reply)]
    if odd:
        yield note("refusal-status", f"Without a token {listed(odd)}: fine where the method is not served at all.")
    if not wrong and not odd and any(reply.status == 401 for reply in replies.values()):
        yield ok("refusal-status", "Every method answers 401 without a token.")


def _seen(reply: Reply) -> str:
    if reply.success:
        return f"answers {reply.status} with an error inside"
    return f"redirects ({reply.status})" if reply.redirect else f"answers {reply.status}"


def _is_wrong(method: str, reply: Reply) -> bool:
    if reply.success:
        return refuses_inside(reply)
    if method == "POST":
        return reply.status != 401
    return reply.redirect or reply.status >= 500


def _is_odd(reply: Reply) -> bool:
    return 400 <= reply.status < 500 and reply.status != 401


async def no_method_gets_in(probe: Probe) -> AsyncIterator[Finding]:
    replies = await every_method(probe)
    # OPTIONS tells what there is, HEAD has no body: neither lets anybody in.
    opened = [method for method in replies if let_in(replies[method]) and method not in ("OPTIONS", "HEAD", "POST")]
    if opened:
        yield error("methods-closed", f"{listed(opened)} let in anybody: {replies[opened[0]].status} without a token.")
    else:
        yield ok("methods-closed", "GET, DELETE, PUT and PATCH let nobody in without a token.")


async def calls_need_a_token(probe: Probe) -> AsyncIterator[Finding]:
    """Where ``initialize`` is open, the calls are tried in the session that it begins."""
    begun = await initialize(probe)
    headers: list[Header] = [VERSION]
    if let_in(begun):
        session = begun.get("mcp-session-id")
        if session:
            headers.append(("mcp-session-id", session))
        await probe.ask("POST", headers=headers, message=INITIALIZED)
    called = await probe.ask("POST", headers=headers, message=CALL)
    tools = await probe.ask("POST", headers=headers, message=LIST)
    if let_in(called):
        yield error("calls-closed", f"tools/call is answered {called.status} without a token: anybody may call tools.")
        return
    opened = [name for name, reply in (("initialize", begun), ("tools/list", tools)) if let_in(reply)]
    if opened:
        yield note("calls-closed", f"{listed(opened)} can be asked without a token; tools/call cannot.")
    else:
        yield ok("calls-closed", "tools/list and tools/call are refused without a token.")


async def what_is_below_is_closed(probe: Probe) -> AsyncIterator[Finding]:
    path = f"{probe.target.path.rstrip('/')}/doctor-{secrets.token_hex(4)}"
    reply = await probe.ask("GET", probe.target.at(path))
    if let_in(reply):
        yield error("below-closed", f"A path below the endpoint is answered {reply.status} without a token.")
    elif reply.status >= 500:
        yield warning("below-closed", f"A path below the endpoint is answered {reply.status}.", "Look at the log.")
    else:
        yield ok("below-closed", f"A path below the endpoint is closed ({reply.status}).")


async def both_slash_forms_answer(probe: Probe) -> AsyncIterator[Finding]:
    path = probe.target.path
    other = f"{path}/" if not path.endswith("/") else path.rstrip("/")
    if not other:
        return
    here = await initialize(probe)
    reply = await probe.ask("POST", probe.target.at(other), message=INITIALIZE)
    if reply.redirect:
        to = probe.shown(reply.get("location"))
        yield warning("slash", f"{other} redirects ({reply.status}) to {to}.")
    elif reply.status == 404 and here.status != 404:
        yield note("slash", f"{other} is not served (404): users must type the path exactly.")
    elif let_in(reply) and not let_in(here):
        yield error("slash", f"{other} is answered {reply.status} without a token, {path} is not.")
    else:
        yield ok("slash", f"{path} and {other} answer alike ({reply.status}).")
