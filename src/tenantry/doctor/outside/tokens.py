"""Bad tokens must be refused, each as a 401 that clients understand; a good one, where there is one, accepted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from ..findings import Finding, error, note, ok, warning
from .asking import INITIALIZE, initialize, let_in, listed, with_token
from .forged import claims, forged, random_token, tampered, unsigned
from .probe import NoReply, Probe, Reply
from .reading import Challenge
from .sign_in import known_key_id
from .target import Header

PLACEHOLDER = "${MCP_TOKEN}"
_GARBAGE = 'not!a"token,at=all'
# What each of them is called in a sentence.
BAD_TOKENS: dict[str, str] = {
    "token-random": "a random token",
    "token-garbage": "what cannot be a token",
    "token-placeholder": f"the literal {PLACEHOLDER}",
    "token-unsigned": "a JWT with alg none",
    "token-forged": "a JWT signed with a key that is not the issuer's",
    "token-expired": "an expired JWT",
    "token-audience": "a JWT for another server",
}


async def _token(probe: Probe, kind: str) -> str:
    """The bad token of a kind; the same one for every check that asks for it."""
    if kind not in probe.tokens:
        issuer, key_id = await known_key_id(probe)
        here = probe.target.public
        makers: dict[str, Callable[[], str]] = {
            "token-random": random_token,
            "token-garbage": lambda: _GARBAGE,
            "token-placeholder": lambda: PLACEHOLDER,
            "token-unsigned": lambda: unsigned(claims(issuer, here)),
            "token-forged": lambda: forged(claims(issuer, here), key_id),
            "token-expired": lambda: forged(claims(issuer, here, expires_in=-600), key_id),
            "token-audience": lambda: forged(claims(issuer, "https://doctor.invalid/mcp"), key_id),
        }
        probe.tokens[kind] = makers[kind]()
    return probe.tokens[kind]


async def _replies(probe: Probe) -> dict[str, Reply]:
    replies = {}
    for kind in BAD_TOKENS:
        with suppress(NoReply):
            replies[kind] = await with_token(probe, await _token(probe, kind))
    return replies


async def _open_anyway(probe: Probe) -> bool:
    """Whether ``initialize`` needs no token at all: then a bad one proves nothing."""
    return let_in(await initialize(probe))


async def bad_tokens_are_refused(probe: Probe) -> AsyncIterator[Finding]:
    if await _open_anyway(probe):
        return
    replies = await _replies(probe)
    for kind, reply in replies.items():
        words = BAD_TOKENS[kind]
        words = words[0].upper() + words[1:]
        if let_in(reply):
            yield error(kind, f"{words} is accepted ({reply.status}).")
        else:
            yield ok(kind, f"{words} is refused ({reply.status}).")


async def bad_tokens_get_401(probe: Probe) -> AsyncIterator[Finding]:
    if await _open_anyway(probe):
        return
    replies = {kind: reply for kind, reply in (await _replies(probe)).items() if not let_in(reply)}
    busy = [BAD_TOKENS[kind] for kind, reply in replies.items() if reply.status == 503 and reply.get("retry-after")]
    wrong = [
        f"{BAD_TOKENS[kind]} ({reply.status})"
        for kind, reply in replies.items()
        if reply.status not in (400, 401) and BAD_TOKENS[kind] not in busy
    ]
    if wrong:
        yield error("bad-token-status", f"Not answered 401: {listed(wrong)}.")
    elif busy:
        yield note("bad-token-status", f"503 with Retry-After, as while a provider is down: {listed(busy)}.")
    else:
        yield ok("bad-token-status", "Bad tokens are answered 401 or 400.")


async def a_bad_token_is_called_invalid(probe: Probe) -> AsyncIterator[Finding]:
    """Where the server gives a challenge at all; ``challenge`` says what is wrong where it does not."""
    reply = await with_token(probe, await _token(probe, "token-random"))
    challenge = Challenge.of(reply)
    if reply.status != 401 or challenge is None:
        return
    code = challenge.get("error")
    if code == "invalid_token":
        yield ok("challenge-invalid-token", 'A bad token is answered error="invalid_token".')
    else:
        said = "no error" if code is None else f'error="{probe.shown(code)}"'
        yield warning("challenge-invalid-token", f"A bad token is answered with {said}.")


async def two_credentials_are_refused(probe: Probe) -> AsyncIterator[Finding]:
    """With the good token where there is one: without, nobody would get in anyhow."""
    if await _open_anyway(probe):
        return
    good, bad = probe.token, await _token(probe, "token-random")
    first: Header = ("authorization", f"Bearer {good or bad}")
    asked = {
        "token-twice": ("Two Authorization headers", [first, ("authorization", f"Bearer {bad}")]),
        "two-credentials": ("X-API-Key beside Authorization", [first, ("x-api-key", bad)]),
    }
    for subject, (words, headers) in asked.items():
        reply = await initialize(probe, *headers)
        if let_in(reply) and good is None:
            yield error(subject, f"{words}, both bad, are accepted: {reply.status}.")
        elif let_in(reply):
            yield warning(subject, f"{words}, one good and one bad, are accepted: {reply.status}.")
        else:
            yield ok(subject, f"{words} are refused ({reply.status}).")


async def a_token_in_the_query_is_refused(probe: Probe) -> AsyncIterator[Finding]:
    """Never with the user's own token: servers and proxies write queries down."""
    if await _open_anyway(probe):
        return
    bad = await _token(probe, "token-random")
    url = probe.target.at(probe.target.path, f"access_token={bad}")
    reply = await probe.ask("POST", url, message=INITIALIZE)
    if let_in(reply):
        yield error("token-in-query", f"A random token in the query is accepted: {reply.status}.")
    else:
        yield ok("token-in-query", f"A token in the query is refused ({reply.status}).")


async def the_good_token_is_accepted(probe: Probe) -> AsyncIterator[Finding]:
    if probe.token is None:
        return
    reply = await with_token(probe, probe.token)
    if reply.status in (401, 403):
        yield error("good-token", f"The token that was given is refused ({reply.status}).")
        return
    if reply.status >= 500 or reply.redirect:
        yield error("good-token", f"The token that was given is answered {reply.status}.", "Look at the server's log.")
        return
    yield ok("good-token", f"The token that was given is accepted ({reply.status}).")
    if await _open_anyway(probe):
        return
    changed = await with_token(probe, tampered(probe.token))
    if let_in(changed):
        yield error("token-tampered", f"The good token with a sign changed is accepted: {changed.status}.")
    else:
        yield ok("token-tampered", f"The good token with a sign changed is refused ({changed.status}).")


async def no_answer_repeats_a_token(probe: Probe) -> AsyncIterator[Finding]:
    """Looks at what came; asks nothing."""
    sent = [token for kind, token in probe.tokens.items() if kind not in ("token-garbage", "token-placeholder")]
    if probe.token is not None:
        sent.append(probe.token)
    for reply in probe.replies:
        answer = reply.text + "\n".join(value for name, value in reply.headers if name != "location")
        if any(token in answer for token in sent):
            yield error("token-echo", f"An answer ({reply.status}) repeats the token that was sent.")
            return
    yield ok("token-echo", "No answer repeats a token.")
