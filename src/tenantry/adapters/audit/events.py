"""Observations as audit events: which matter, what each is called, and its members as JSON text.

A busy server makes one ``called`` a request, so what repeats (who, what, from where) is text that is kept, and an
event is put together out of it. Nothing here holds a credential, because no observation does; what callers chose
themselves (a tool's name, a request id) is cut to a length and escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from json.encoder import encode_basestring_ascii as _quoted
from time import gmtime, strftime
from typing import Any, NamedTuple

from ...core.redaction import redact
from ...model import MCPUserContext
from ...observations import (
    About,
    Admitted,
    AdmittedInOutage,
    BudgetLow,
    Called,
    ConfigurationLoaded,
    ConfigurationRefused,
    InsecureSetting,
    InternalError,
    KeysRefreshed,
    KeysRefreshFailed,
    Misconfigured,
    ProviderCalled,
    ProviderFailed,
    QuotaUnchecked,
    Refused,
)
from .pseudonyms import Keys, Naming

_LONGEST = 256  # characters of what a caller chose: a resource's URI, a tool's name
_KEPT = 10_000  # texts of a kind; past it, all are made anew
_KEPT_SECONDS = 60.0  # a user whose key was dropped gets his new name within that time
_KEY_USED_SECONDS = 3600.0
_DATABASE = frozenset({"database_unavailable", "store_unavailable"})

# The members of a row in their order, for docs/audit.md and whoever reads rows. "detail" is text in every event; for
# what an operator did it is a JSON object as text.
FIELDS: Mapping[str, str] = {
    "v": "version of this format: 1",
    "writer": "the process that wrote the row (16 hexadecimal digits), or what operators do: acts",
    "stream": "whose chain: file, stdout, operator, tenant",
    "key": "fingerprint of MCP_HTTP_AUDIT_HMAC_KEY, where it is set",
    "seq": "number of the row among those of its writer and stream, from 1",
    "id": "the event; the same in each sink",
    "at": "when, RFC 3339 in UTC with microseconds",
    "event": "what happened: see the list of events",
    "tenant": "tenant id",
    "user": "user id, or its pseudonym",
    "email": "e-mail address: its pseudonym, itself, or absent",
    "provider": "who vouched for the caller, or who failed",
    "client": "OAuth client id, or the API key's",
    "address": "the client's network address, as far as it can be trusted",
    "request_id": "the request, as in the answer and the log",
    "trace_id": "32 hexadecimal digits of traceparent",
    "method": "JSON-RPC method",
    "name": "tool, prompt or resource",
    "status": "HTTP status of the answer",
    "reason": "why not: a code of docs/errors.md",
    "duration_ms": "from the request's arrival to the end of its answer",
    "actor": "who did it, for what an operator did",
    "subject": "to what it was done",
    "detail": "more, as text",
    "prev": "hash of the row before it",
    "hash": "hash of everything before this member",
}
EVENTS: Mapping[str, str] = {
    "writer.started": "a process began to write",
    "writer.continued": "a process goes on in a new file, after a rotation",
    "admitted": "a credential that was not known yet was verified and let in",
    "admitted.outage": "a caller was let in on an old proof: the provider cannot be asked",
    "refused": "a request was not let in",
    "called": "a request that was let in has been answered",
    "key.used": "first use of an API key by this process, or the first in an hour",
    "key.created": "an API key was made",
    "key.rotated": "an API key was replaced by another",
    "key.revoked": "an API key was made worthless",
    "tenant.created": "a tenant was made",
    "tenant.migrated": "tenants were brought to a version of the application's tables",
    "tenant.active": "a tenant is served again",
    "tenant.suspended": "a tenant is no longer served",
    "tenant.moving": "a tenant is about to move to another database",
    "tenant.moved": "a tenant lives in another database",
    "tenant.purged": "the copies that a move has left were removed",
    "tenant.exported": "a tenant was written to a file",
    "tenant.imported": "a tenant was made from a file",
    "tenant.dropping": "a tenant is about to be removed",
    "tenant.dropped": "a tenant was removed with all it had",
    "source.mapped": "the people of a domain or organisation were given to a tenant",
    "source.unmapped": "such a mapping was taken back",
    "finding.repaired": "`tenantry tenants check --repair` mended something",
    "user.erased": "a user's key was dropped; nothing says whose",
    "outage.began": "a provider, the database or a sink of the audit does not answer",
    "outage.ended": "it answers again",
    "budget.low": "little is left of the requests that a provider grants this server",
    "quota.unchecked": "the quota store could not be asked",
    "configuration.loaded": "settings are in force",
    "configuration.refused": "a new configuration was not taken",
    "configuration.insecure": "a setting that weakens a check is on",
    "configuration.wrong": "settings turned out to be wrong while serving",
    "internal.error": "a mistake of tenantry's own was caught",
    "events.dropped": "so many events are not in this trail",
}


class Event(NamedTuple):
    """One event, the same for each sink. ``body``: its members as JSON text; ``at``: microseconds since the epoch;
    ``tenant``: whose it is; ``user``: as written."""

    body: str
    at: int
    event: str
    tenant: str | None
    user: str | None


_new = tuple.__new__  # a NamedTuple's own constructor takes three times as long, which is a tenth of an event


class Told(NamedTuple):
    """What the audit has to tell of itself."""

    event: str
    subject: str
    detail: str


def quoted(text: str, limit: int = _LONGEST) -> str:
    """A JSON string in ASCII without control characters. What PostgreSQL's jsonb or a terminal would choke on (NUL,
    half a surrogate pair, DEL) is U+FFFD."""
    if len(text) > limit:
        text = text[:limit]
    if not text.isprintable():
        text = "".join("\ufffd" if char in "\0\x7f" or "\ud800" <= char <= "\udfff" else char for char in text)
    return _quoted(text)


def member(name: str, value: str | None, limit: int = _LONGEST) -> str:
    """``,"name":"value"``, or nothing."""
    return "" if value is None else f',"{name}":{quoted(value, limit)}'


class Moments:
    """RFC 3339 from microseconds; the text of a second is kept."""

    def __init__(self) -> None:
        self._second, self._text = -1, ""

    def text(self, at: int) -> str:
        second, rest = divmod(at, 1_000_000)
        if second != self._second:
            self._second, self._text = second, strftime("%Y-%m-%dT%H:%M:%S", gmtime(second))
        return f"{self._text}.{rest:06d}Z"


class Who(NamedTuple):
    """A caller as text. ``user`` keeps the object alive by whose identity this is found."""

    user: MCPUserContext
    text: str
    word: str


class Scribe:
    """Makes events. ``writer`` numbers them; ``keys`` are asked once for each batch of users that are new."""

    def __init__(self, writer: str, naming: Naming, keys: Keys | None, wrong: Callable[[Exception], None]) -> None:
        self._writer, self._naming, self._keys, self._wrong = writer, naming, keys, wrong
        self._number = 0
        self._moments = Moments()
        self._who: dict[int, Who] = {}
        self._what: dict[tuple[str | None, str | None], str] = {}
        self._where: dict[str, str] = {}
        self._renew_at = 0.0
        self._down: dict[str, float] = {}
        self._keys_used: dict[str, float] = {}
        self._telling: dict[type, Callable[[float, Any], Sequence[Event]]] = {
            Admitted: self._admitted,
            AdmittedInOutage: lambda at, seen: self._admitted(at, seen, "admitted.outage"),
            Refused: self._refused,
            Told: lambda at, told: [self._plain(at, told.event, subject=told.subject, detail=told.detail)],
            ProviderFailed: lambda at, seen: self._fails(at, seen.provider, f"{seen.endpoint}: {seen.kind}"),
            ProviderCalled: lambda at, seen: self._answers(at, seen.provider) if _works(seen.status) else (),
            KeysRefreshFailed: lambda at, seen: self._fails(at, seen.provider, f"keys: {seen.kind}"),
            KeysRefreshed: lambda at, seen: self._answers(at, seen.provider),
            BudgetLow: lambda at, seen: [
                self._plain(at, "budget.low", provider=seen.provider, detail=f"{seen.remaining} of {seen.limit} left")
            ],
            QuotaUnchecked: lambda at, seen: [
                self._plain(at, "quota.unchecked", subject=seen.store, detail="let in" if seen.let_in else "refused")
            ],
            ConfigurationLoaded: lambda at, seen: [
                self._plain(
                    at, "configuration.loaded", subject=seen.version, detail="reloaded" if seen.reloaded else "at start"
                )
            ],
            ConfigurationRefused: lambda at, seen: [self._plain(at, "configuration.refused", detail=seen.problem)],
            InsecureSetting: lambda at, seen: [
                self._plain(at, "configuration.insecure", subject=seen.variable, detail=seen.meaning)
            ],
            Misconfigured: lambda at, seen: [
                self._plain(at, "configuration.wrong", subject=seen.part, detail=seen.hint)
            ],
            InternalError: lambda at, seen: [self._plain(at, "internal.error", subject=seen.error, detail=seen.place)],
        }

    async def describe(self, batch: Sequence[tuple[float, Any]]) -> list[Event]:
        """The events of a batch. Raises what the keys' store raises, and then nothing has been done."""
        await self._learn(batch)
        events: list[Event] = []
        called, telling = self._called, self._telling
        for at, observation in batch:
            try:
                if type(observation) is Called:
                    events.append(called(at, observation))
                    if observation.user is not None and observation.user.provider == "api_key":
                        events += self._key_used(at, observation.user)
                    if self._down:
                        events += self._let_in(at, at - observation.seconds)
                else:
                    tell = telling.get(type(observation))
                    if tell is not None:
                        events += tell(at, observation)
            except Exception as error:  # one that cannot be told must not keep the others back
                self._wrong(error)
        return events

    # --- Who and what -----------------------------------------------------------------------------------------------

    async def _learn(self, batch: Sequence[tuple[float, Any]]) -> None:
        now = batch[-1][0] if batch else 0.0
        if now >= self._renew_at or len(self._who) > _KEPT:
            self._who, self._renew_at = {}, now + _KEPT_SECONDS
        who = self._who
        users: dict[int, MCPUserContext] = {}
        for _, observation in batch:
            user = getattr(observation, "user", None)
            if id(user) not in who and user is not None:
                users[id(user)] = user
        if not users:
            return
        wanted = {user.user_id for user in users.values() if self._naming.wants_key(user)}
        keys = await self._keys.of(wanted) if wanted and self._keys is not None else {}
        for number, user in users.items():
            self._who[number] = self._described(user, keys.get(user.user_id))

    def _described(self, user: MCPUserContext, key: bytes | None) -> Who:
        word, tenant, email = self._naming.named(user, key)
        text = f"{member('tenant', tenant)}{member('user', word)}{member('email', email)}"
        return Who(user, f"{text}{member('provider', user.provider)}{member('client', user.client_id)}", word)

    def _about(self, about: About) -> str:
        """The request: address, ids, method and name."""
        request_id, address, trace_id, method, name = about
        what = self._what.get((method, name))
        if what is None:
            if len(self._what) >= _KEPT:
                self._what.clear()
            what = self._what[method, name] = member("method", method and redact(method), 64) + member(
                "name", name and redact(name)
            )
        where = "" if address is None else self._where.get(address)
        if where is None:
            if len(self._where) >= _KEPT:
                self._where.clear()
            where = self._where[address or ""] = member("address", address, 64)
        trace = "" if trace_id is None else member("trace_id", trace_id, 64)
        return f'{where},"request_id":{quoted(request_id, 128)}{trace}{what}'

    def _event(self, at: float, event: str, text: str, tenant: str | None = None, user: str | None = None) -> Event:
        self._number += 1
        moment = int(at * 1_000_000)
        body = f'"id":"{self._writer}-{self._number}","at":"{self._moments.text(moment)}","event":"{event}"{text}'
        return _new(Event, (body, moment, event, tenant, user))

    def _plain(self, at: float, event: str, **members: str | None) -> Event:
        return self._event(at, event, "".join(member(name, value, 1024) for name, value in members.items()))

    # --- What happened ----------------------------------------------------------------------------------------------

    def _called(self, at: float, seen: Called) -> Event:
        user, status, ms = seen.user, seen.status, seen.seconds * 1000
        text, word = ("", None) if user is None else self._who[id(user)][1:]
        text = f'{text}{self._about(seen.about)},"status":{status:d},"duration_ms":{ms:.3f}'
        return self._event(at, "called", text, None if user is None else user.tenant_id, word)

    def _admitted(self, at: float, seen: Admitted | AdmittedInOutage, name: str = "admitted") -> Sequence[Event]:
        who, about = self._who[id(seen.user)], "" if seen.about is None else self._about(seen.about)
        event = self._event(at, name, f"{who.text}{about}", seen.user.tenant_id, who.word)
        return [event, *(self._let_in(at, at) if self._down else ())]

    def _key_used(self, at: float, user: MCPUserContext) -> Sequence[Event]:
        """Proofs of API keys are not kept, so that nobody is told when one is new."""
        if not self._first_in_an_hour(user.user_id, at):
            return ()
        who = self._who[id(user)]
        return [self._event(at, "key.used", who.text, user.tenant_id, who.word)]

    def _refused(self, at: float, seen: Refused) -> Sequence[Event]:
        who = None if seen.user is None else self._who[id(seen.user)]
        text = member("provider", seen.provider) if who is None else who.text
        text += "" if seen.about is None else self._about(seen.about)
        text += f',"status":{seen.status:d}{member("reason", seen.reason)}{member("detail", seen.detail)}'
        tenant, word = (None, None) if who is None else (who.user.tenant_id, who.word)
        events = [self._event(at, "refused", text, tenant, word)]
        return [*events, *(self._fails(at, "database", seen.reason) if seen.reason in _DATABASE else ())]

    def _first_in_an_hour(self, user_id: str, at: float) -> bool:
        if at - self._keys_used.get(user_id, 0.0) < _KEY_USED_SECONDS:
            return False
        if len(self._keys_used) >= _KEPT:
            self._keys_used.clear()
        self._keys_used[user_id] = at
        return True

    # --- Outages ----------------------------------------------------------------------------------------------------

    def _fails(self, at: float, what: str, detail: str) -> Sequence[Event]:
        if what in self._down:
            return ()
        self._down[what] = at
        return [self._plain(at, "outage.began", provider=what, detail=detail)]

    def _answers(self, at: float, what: str) -> Sequence[Event]:
        began = self._down.pop(what, None)
        return () if began is None else [self._plain(at, "outage.ended", provider=what, detail=f"{at - began:.0f} s")]

    def _let_in(self, at: float, arrived: float) -> Sequence[Event]:
        """Nobody is let in while the registry cannot be asked: who arrived after that ends the outage."""
        return self._answers(at, "database") if arrived > self._down.get("database", arrived) else ()


def _works(status: int) -> bool:
    return status < 500 and status != 429
