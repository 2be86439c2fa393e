"""What the server says of how to get in, read once for every check: its challenge and its resource metadata."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ...core.strict_json import parse_object
from .asking import refusal
from .probe import NoReply, Probe, Reply
from .target import parts_of

_PARAMETER = re.compile(r'\s*,?\s*([A-Za-z0-9_-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s,"]+)')


@dataclass(frozen=True, slots=True)
class Challenge:
    """One value of WWW-Authenticate, read leniently: ``fields`` in order with their values as they are written."""

    scheme: str
    fields: tuple[tuple[str, str], ...]
    readable: bool

    @classmethod
    def of(cls, reply: Reply) -> Challenge | None:
        """None without the header."""
        text = reply.get("www-authenticate").strip()
        if not text:
            return None
        scheme, _, rest = text.partition(" ")
        fields, end = [], 0
        while (found := _PARAMETER.match(rest, end)) is not None:
            fields.append((found[1].lower(), found[2]))
            end = found.end()
        return cls(scheme, tuple(fields), readable=not rest[end:].strip(" ,"))

    def get(self, name: str) -> str | None:
        value = dict(self.fields).get(name)
        return None if value is None else value.strip('"')

    @property
    def unquoted(self) -> list[str]:
        return [name for name, value in self.fields if not value.startswith('"')]


async def bearer(probe: Probe) -> Challenge | None:
    """The challenge that clients read; None where it is missing or of another scheme."""
    reply = await refusal(probe)
    challenge = None if reply is None else Challenge.of(reply)
    return challenge if challenge is not None and challenge.scheme.lower() == "bearer" else None


async def public_document(probe: Probe, url: str) -> Reply:
    """A document that needs no token, at whatever server it is. Raises ``NoReply``, ``Stopped``."""
    parts = parts_of(url)
    if f"{parts.scheme}://{parts.netloc}".lower() == probe.target.origin.lower():
        return await probe.ask("GET", probe.target.at(parts.path, parts.query))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise NoReply("protocol", "not an http URL")
    return await probe.elsewhere(url)


def json_object(reply: Reply) -> dict[str, Any] | None:
    """The object that a 200 holds; None for anything else."""
    if reply.status != 200 or not reply.whole:
        return None
    try:
        return parse_object(reply.body)
    except ValueError:
        return None


async def published(probe: Probe) -> dict[str, Any] | None:
    """The resource metadata: where the challenge says, else at the path-inserted and then at the root place."""
    challenge = await bearer(probe)
    named = None if challenge is None else challenge.get("resource_metadata")
    if named is not None:
        try:
            found = json_object(await public_document(probe, named))
        except NoReply:
            found = None
        if found is not None:
            return found
    for url in probe.target.metadata_urls:
        found = json_object(await probe.ask("GET", url))
        if found is not None:
            return found
    return None
