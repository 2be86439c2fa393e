"""Every provider there is, configured at once: whoever is in ``tests/faults/subjects.py`` is here."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any

import httpx
from tests.faults.subjects import KEYS, SUBJECTS, Subject
from tests.support import Door, World

from tenantry.adapters.http import HttpFetch
from tenantry.core.jws import parse_claims, parse_jws
from tenantry.devidp import Auth0Account, DevIdp, GitHubAccount, GoogleAccount, Person
from tenantry.devidp.issuers import Issuer
from tenantry.errors import Refusal
from tenantry.model import Admission, Credential
from tenantry.observations import InternalError

STATUSES = (400, 401, 403, 429, 503)  # of whatever the gate refuses
OFF = {"rate_limit_tenant": "off", "rate_limit_anonymous": "off"}  # what is tried here comes by the hundred


def settings_of(idp: DevIdp, subjects: Collection[Subject] = SUBJECTS) -> dict[str, Any]:
    """All their settings; lists of providers are joined."""
    merged: dict[str, Any] = {}
    for subject in subjects:
        for name, value in subject.settings(idp).items():
            known = merged.get(name)
            merged[name] = [*known, *(one for one in value if one not in known)] if isinstance(known, list) else value
    return merged


def everybody(world: World, *, without: Subject | None = None, **changes: Any) -> Door:
    """A gate that trusts all of them, or all but the provider of one."""
    settings = settings_of(world.idp, [one for one in SUBJECTS if not _together(one, without)])
    return world.door(only=(), **{**OFF, **settings, **changes})


def _together(one: Subject, other: Subject | None) -> bool:
    """Whether they are two kinds of credential of one provider."""
    return other is not None and one.provider == other.provider


async def admission(door: Door, token: str, hint: str | None = None) -> Admission:
    return await door.gate.validate(Credential(token.encode()), hint)


def token_of(world: World, subject: Subject) -> str:
    return subject.token(world.idp, subject.people[0])


def face_of(idp: DevIdp, subject: Subject) -> Any:
    """What signs for it."""
    return getattr(idp, subject.provider or "", None) or idp.issuers[subject.provider or ""]


def resigned(world: World, subject: Subject, **claims: Any) -> str:
    """An honest token with other claims, under the same issuer's key."""
    face = face_of(world.idp, subject)
    if isinstance(face, Issuer):
        lasting = {"exp": face.now() + 3600}
        return str(getattr(face, face.kinds[0])(subject.people[0], **{**lasting, **claims}))
    honest = parse_claims(parse_jws(token_of(world, subject).encode()))
    return str(face.keys.sign({**honest, **claims}))


def called(world: World, subject: Subject, identifier: str) -> str | None:
    """A token of somebody whom this provider calls ``identifier``; None where it calls nobody so."""
    if subject.source == KEYS:
        return resigned(world, subject, sub=identifier, uid=identifier, oid=identifier)
    if subject.provider not in ("google", "github") or (subject.provider == "github" and not identifier.isdecimal()):
        return None
    person = Person(
        "same",
        "Same Somebody",
        "is called the same everywhere",
        google=GoogleAccount(identifier, "same@acme.example", hd="acme.example"),
        auth0=Auth0Account(identifier, "same@acme.example"),
        github=GitHubAccount(int(identifier), "same") if identifier.isdecimal() else None,
    )
    return subject.token(world.idp, person)  # type: ignore[arg-type]


class InProcess(World):
    """The same without a socket, for what is asked by the thousand: its provider is called as a function."""

    def __init__(self) -> None:
        client = httpx.AsyncClient(transport=httpx.ASGITransport(self._answer), trust_env=False)
        super().__init__(HttpFetch(allow_loopback_http=True, client=client))
        self.idp = DevIdp(clock=self.clock, base_url="http://127.0.0.1:9")
        self._runner = asyncio.Runner()

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        await self.idp.app(scope, receive, send)

    def verdict(self, door: Door, token: bytes, hint: str | None = None) -> tuple[Any, ...]:
        """(user, tenant) or (status, reason). Fails when anything but a refusal comes out, when a mistake of ours had
        to be caught on the way, and for a refusal that has none of the statuses of a gate."""
        return self._runner.run(self.outcome(door, token, hint))

    async def outcome(self, door: Door, token: bytes, hint: str | None = None) -> tuple[Any, ...]:
        try:
            admitted = await door.gate.validate(Credential(token), hint)
            found: tuple[Any, ...] = admitted.user.user_id, admitted.tenant.tenant_id
        except Refusal as refusal:
            found = refusal.status, refusal.reason
        assert self.seen.of(InternalError) == []
        assert type(found[0]) is str or found[0] in STATUSES, found
        return found

    def together(self, door: Door, tokens: Sequence[bytes]) -> list[tuple[Any, ...]]:
        """All of them at once, in their order."""

        async def all_of_them() -> list[tuple[Any, ...]]:
            return await asyncio.gather(*(self.outcome(door, token) for token in tokens))

        return self._runner.run(all_of_them())

    def close(self) -> None:
        self._runner.run(self.aclose())
        self._runner.close()
