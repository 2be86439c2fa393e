"""What may be called: the rules, and the methods that need no credential. Both ask the body."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from .core.jsonrpc import Call, kind_of
from .errors import ConfigurationError, CredentialMissing, UnsupportedMediaType
from .model import MCPUserContext
from .request import REVISION, Request

if TYPE_CHECKING:
    from .core.rules import Rules


class CallPolicy:
    """``anonymous`` are the methods that need no credential. ``naming``: read what is called also where no rule asks,
    because somebody writes it down. Raises ``ConfigurationError`` for an anonymous method that no public rule holds in
    check, and for one that could never be used."""

    def __init__(self, rules: Rules | None = None, anonymous: Sequence[str] = (), *, naming: bool = False) -> None:
        self.rules = rules or None
        self.anonymous = frozenset(anonymous)
        if anonymous:
            _check_anonymous(self.anonymous, self.rules)
        if "initialize" in self.anonymous:  # half of a handshake is none; it only says that the other half is done
            self.anonymous |= {"notifications/initialized"}
        self._naming = naming
        self._deciding = bool(rules or anonymous)
        self.reads = self._deciding or naming

    def asks(self, request: Request) -> bool:
        """Whether something may depend on what its body says."""
        return self._deciding or self._must_name(request)

    async def weigh(self, request: Request, user: MCPUserContext) -> int:
        """How many units of quota the request is worth. Raises the ``Refusal`` that a rule decides."""
        if request.read is None:
            return 1
        if self.rules:
            return self.rules.decide(user, await self._read(request))
        if self._must_name(request):
            with suppress(UnsupportedMediaType):  # something else than MCP, which nobody asked to be refused
                await self._read(request)
        return 1

    async def admit_anonymous(self, request: Request) -> int:
        """The same for a request without a credential. Raises ``CredentialMissing`` unless all of its messages are of
        anonymous methods, and rules open what they name to everybody."""
        if not self.anonymous or request.read is None or self._says_otherwise(request):
            raise CredentialMissing("credential_missing")
        try:
            calls = await self._read(request)
        except UnsupportedMediaType:  # no MCP is in it; who signs in may still be heard
            raise CredentialMissing("credential_missing") from None
        if not calls or any(call.method not in self.anonymous for call in calls):
            raise CredentialMissing("credential_missing")
        return self.rules.decide(None, calls) if self.rules else 1

    def _says_otherwise(self, request: Request) -> bool:
        """A header that names another method is enough to be refused: a client that has yet to sign in is told so
        whatever the size of its request."""
        stated = request.headers.get(b"mcp-method")
        return stated is not None and stated.decode("latin-1") not in self.anonymous

    def _must_name(self, request: Request) -> bool:
        """Revision 2026-07-28 says it in headers, which the host holds against the body."""
        return self._naming and request.headers.get(b"mcp-protocol-version") != REVISION

    @staticmethod
    async def _read(request: Request) -> Sequence[Call]:
        if request.calls is None and request.read is not None:
            request.calls = await request.read()
        return request.calls or ()


# Where the kind of what a method reaches is not in its name alone.
_ALSO_REACHED = {"completion/complete": ("prompt", "resource"), "subscriptions/listen": ("resource",)}


def _check_anonymous(methods: Iterable[str], rules: Rules | None) -> None:
    for method in sorted(methods):
        problem = _problem(method, rules)
        if problem is not None:
            raise ConfigurationError(f"MCP_HTTP_ANONYMOUS_METHODS holds {method!r}, {problem}.")


def _problem(method: str, rules: Rules | None) -> str | None:
    """Why nobody may use ``method`` without a credential."""
    from .core.rules import NEUTRAL

    needs_no_rule = method in NEUTRAL or (method.startswith("notifications/") and "*" not in method)
    rule = None if rules is None else rules.rule_for(Call(method, kind=kind_of(method)), None)
    if rule is not None:
        return None if rule.public else f"which a rule closes that is not public ({rule})"
    if needs_no_rule and (rules is not None or method not in _ALSO_REACHED):
        return None
    kinds = _ALSO_REACHED.get(method, (kind_of(method),))
    if "method" in kinds:
        near = difflib.get_close_matches(method, NEUTRAL, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        return f"which may do anything{hint}: without a credential only what a rule with public = true names is open"
    if any(rule.public and rule.kind in kinds for rule in rules or ()):
        return None
    return f"yet no rule makes a {' or '.join(kinds)} public: it would open all of them, or none"
