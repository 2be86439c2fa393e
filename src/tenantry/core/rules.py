"""Who may call what: rules for tools, prompts, resources and methods. The first that matches decides.

A rule matches by what it is about and by its pattern alone; then its requirements decide, and no later rule is asked.
With any rule present, what none matches is refused, except the methods of ``NEUTRAL``, which reach nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from ..errors import ConfigurationError, CredentialMissing, Forbidden, InsufficientScope, Refusal, RequestInvalid
from ..model import MCPUserContext
from .conditions import Condition, Facts, parse_condition
from .globs import Globs
from .jsonrpc import SUBSCRIBING, Call, kind_of
from .policy import is_permission
from .uris import misspelt, misspelt_template

Kind = Literal["tool", "prompt", "resource", "method"]
KINDS: tuple[Kind, ...] = ("tool", "prompt", "resource", "method")
MAX_RULES = 100_000
MAX_WEIGHT = 10_000

# They reach no tool, prompt or resource (lists are filtered), so that they need no rule. One for exactly this method
# governs it all the same.
NEUTRAL = frozenset(
    {
        "initialize",
        "ping",
        "server/discover",
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
        "logging/setLevel",
        "subscriptions/listen",  # without resources: with them it is governed by their rules
    }
)
_NOTIFICATIONS = "notifications/"


@dataclass(frozen=True, slots=True, init=False)
class Rule:
    """What it takes to use what ``pattern`` names (``globs.py`` says how).

    ``permissions``: all of them. ``roles``, ``tenants``, ``providers``: any of each. ``when``: a condition
    (``conditions.py``). ``public``: nothing at all, not even a credential. ``weight``: how many units of quota a call
    takes. ``place`` is where the rule is written, for messages. Raises ``ConfigurationError``.
    """

    kind: Kind
    pattern: str
    permissions: tuple[str, ...]
    roles: frozenset[str]
    tenants: frozenset[str]
    providers: frozenset[str]
    when: Condition | None
    public: bool
    weight: int
    place: str

    def __init__(
        self,
        kind: Kind,
        pattern: str,
        *,
        permissions: Iterable[str] | None = None,
        roles: Iterable[str] | None = None,
        tenants: Iterable[str] | None = None,
        providers: Iterable[str] | None = None,
        when: Mapping[str, Any] | None = None,
        public: bool = False,
        weight: int = 1,
        place: str = "",
    ) -> None:
        fields = {
            "kind": kind,
            "pattern": pattern,
            "place": place,
            "public": public,
            "weight": weight,
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)
        lists = {"permissions": permissions, "roles": roles, "tenants": tenants, "providers": providers}
        for name, names in lists.items():
            object.__setattr__(self, name, (tuple if name == "permissions" else frozenset)(self._names(name, names)))
        object.__setattr__(self, "when", None if when is None else self._condition(when))
        self._check()

    def __str__(self) -> str:
        return f"{self.place}: {self.kind} {self.pattern!r}" if self.place else f"{self.kind} {self.pattern!r}"

    def wrong(self, problem: str) -> ConfigurationError:
        """An error about this rule."""
        return ConfigurationError(f"The rule {self} {problem}.")

    def _names(self, name: str, values: Iterable[str] | None) -> list[str]:
        if values is None:
            return []
        names = [] if isinstance(values, str) else list(values)
        if not names:
            raise self.wrong(f"has {name} that are not a list with something in it: leave them out, or name some")
        for entry in names:
            if type(entry) is not str or not 0 < len(entry) <= 256 or not entry.isprintable():
                raise self.wrong(f"has {name} with an entry that is not a name: {entry!r:.80}")
        return names

    def _condition(self, when: Mapping[str, Any]) -> Condition:
        try:
            return parse_condition(when)
        except ValueError as error:
            raise self.wrong(f"has a condition (when) that cannot be: {error}") from None

    def _check(self) -> None:
        if self.kind not in KINDS:
            raise self.wrong(f"is of no kind that exists: {', '.join(KINDS)}")
        if type(self.pattern) is not str:
            raise self.wrong("has a pattern that is not a string")
        for permission in self.permissions:
            if not is_permission(permission):
                raise self.wrong(
                    f"needs {permission!r}, which cannot be a permission: nobody could ever have it (no blanks, quotes "
                    "or backslashes, at most 128 characters of ASCII)"
                )
        requires = self.permissions or self.roles or self.tenants or self.providers or self.when is not None
        if type(self.public) is not bool:
            raise self.wrong("has a public that is neither true nor false")
        if self.public and requires:
            raise self.wrong("is public and has requirements: it cannot be both")
        if not self.public and not requires:
            raise self.wrong(
                "says nothing: give it permissions, roles, tenants, providers or when, or public = true for everybody"
            )
        if type(self.weight) is not int or not 1 <= self.weight <= MAX_WEIGHT:
            raise self.wrong(f"has the weight {self.weight!r:.40}: use 1 to {MAX_WEIGHT}")
        self._check_pattern()

    def _check_pattern(self) -> None:
        """A pattern that nothing can match is a mistake."""
        if self.kind == "method" and (kind_of(self.pattern) != "method" or self.pattern == "completion/complete"):
            raise self.wrong("is about a method that names a tool, prompt or resource: write a rule for these instead")
        if self.kind == "resource":
            problem = _cannot_match(self.pattern)
            if problem is not None:
                raise self.wrong(f"never matches, because of how a URI is spelt here: {problem}")


def _cannot_match(pattern: str) -> str | None:
    scheme, colon, rest = pattern.partition(":")
    if "*" in scheme or "?" in scheme or not colon:
        return None if ("*" in scheme or "?" in scheme) else misspelt(pattern)
    if "{" in rest:
        return "a template is not a resource: write * in the place of {...}"
    authority = rest.removeprefix("//").partition("/")[0]
    if "*" in authority or "?" in authority:  # it may stand for anything there, a slash included
        return misspelt(f"x-{scheme}:{rest}".replace("\\", "").replace("*", "1"))
    return misspelt(pattern.replace("\\", "").replace("*", "x"))


class Check(NamedTuple):
    """One requirement of a rule, and whether it is met."""

    what: str
    wanted: str
    met: bool


class Rules:
    """The rules of a server, in order; false when there are none, and then everything is let through.

    Raises ``ConfigurationError`` for a rule that could never match because an earlier one always does.
    """

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self._rules = tuple(rules)
        if len(self._rules) > MAX_RULES:
            raise ConfigurationError(f"There are {len(self._rules)} rules: at most {MAX_RULES} are allowed.")
        self._globs: dict[str, Globs[Rule]] = {kind: Globs() for kind in KINDS}
        for rule in self._rules:
            try:
                self._globs[rule.kind].add(rule.pattern, rule)
            except ValueError as error:
                raise rule.wrong(str(error)) from None
        self._methods = self._globs["method"]

    def __bool__(self) -> bool:
        return bool(self._rules)

    def __len__(self) -> int:
        return len(self._rules)

    def __iter__(self) -> Iterator[Rule]:
        return iter(self._rules)

    def decide(self, user: MCPUserContext | None, calls: Sequence[Call]) -> int:
        """The weight of all calls together, at least 1.

        Raises ``InsufficientScope`` with all permissions that the call takes when nothing but permissions is missing,
        ``Forbidden`` when more is, ``CredentialMissing`` when ``user`` is None and signing in might help, and
        ``RequestInvalid`` when one of several calls is refused.
        """
        if not self._rules:
            return max(1, len(calls))
        if len(calls) == 1:
            return self._weigh(user, calls[0])
        try:
            return sum(self._weigh(user, call) for call in calls) or 1
        except Refusal:
            raise RequestInvalid("batch_forbidden") from None

    def visible(self, user: MCPUserContext | None, kind: str, name: str) -> bool:
        """Whether the tool, prompt or resource (a URI or a template of it) belongs into this caller's list. What a
        condition asks of the arguments counts as fulfilled: there are none yet."""
        rule = self._globs[kind].find(name)
        if rule is None or (kind == "resource" and misspelt_template(name) is not None):
            return False
        if rule.public:
            return True
        if user is None:
            return False
        facts = Facts(user, Call("", name, kind=kind), name)
        return all(map(user.has_permission, rule.permissions)) and _accepts(rule, facts, may=True)

    def scopes(self, kind: str, name: str) -> tuple[str, ...] | None:
        """All permissions that using it takes; None when it is public."""
        rule = self._globs[kind].find(name)
        return () if rule is None else None if rule.public else rule.permissions

    def rule_for(self, call: Call, name: str | None) -> Rule | None:
        """The rule that decides ``call`` about ``name``, one of those it names; None when there is none."""
        kind = _kind(call)
        if kind != "method":
            return None if name is None else self._globs[kind].find(name)
        if call.method in NEUTRAL or call.method.startswith(_NOTIFICATIONS):
            return self._methods.exactly(call.method)
        return None if call.method == "completion/complete" else self._methods.find(call.method)

    def explain(self, user: MCPUserContext | None, call: Call, name: str | None) -> list[Check]:
        """Each requirement of the rule that decides."""
        rule = self.rule_for(call, name)
        return [] if rule is None else list(_checks(rule, user, Facts(user, call, name) if user else None))

    def _weigh(self, user: MCPUserContext | None, call: Call) -> int:
        kind, name = call.kind, call.name
        if kind == "method":
            return self._weigh_method(user, call)
        if name is None:
            raise Forbidden("call_not_allowed", detail=f"the call names no {kind}")
        if not call.more and call.method not in NEUTRAL:
            return self._weigh_name(user, call, kind, name)
        return self._weigh_several(user, call, (name, *call.more))

    def _weigh_several(self, user: MCPUserContext | None, call: Call, names: tuple[str, ...]) -> int:
        """All that one message names (``subscriptions/listen``), and the rule for its method where there is one."""
        rule = self._methods.exactly(call.method)
        weight = 0
        scopes: list[str] = []
        for name in (None, *names):
            try:
                if name is not None:
                    weight += self._weigh_name(user, call, call.kind, name)
                elif rule is not None:
                    weight += _permit(rule, user, call, name)
            except InsufficientScope as refusal:  # a plain refusal is raised at once: it wins
                scopes += refusal.scopes
        if scopes:
            raise InsufficientScope("permission_missing", scopes=tuple(dict.fromkeys(scopes)))
        return weight

    def _weigh_name(self, user: MCPUserContext | None, call: Call, kind: str, name: str) -> int:
        if kind == "resource":
            problem = (misspelt_template if call.method == "completion/complete" else misspelt)(name)
            if problem is not None:
                raise Forbidden(
                    "call_not_allowed", detail=f"the URI has another spelling that means the same: {problem}"
                )
        rule = self._globs[kind].find(name)
        if rule is None:
            raise _unmatched(user, kind)
        return _permit(rule, user, call, name)

    def _weigh_method(self, user: MCPUserContext | None, call: Call) -> int:
        if _kind(call) != "method":  # a call that was not made by read_calls
            return self._weigh(user, call._replace(kind=_kind(call)))
        rule = self.rule_for(call, None)
        if rule is not None:
            return _permit(rule, user, call, None)
        if call.method in NEUTRAL or call.method.startswith(_NOTIFICATIONS):
            return 1
        raise _unmatched(user, "method")


def _kind(call: Call) -> str:
    if call.kind != "method" or (call.name is None and call.method in SUBSCRIBING):  # which then reaches nothing
        return call.kind
    return kind_of(call.method)


def _unmatched(user: MCPUserContext | None, kind: str) -> Refusal:
    if user is None:
        return CredentialMissing("credential_missing")
    return Forbidden("call_not_allowed", detail=f"no rule is about this {kind}")


def _permit(rule: Rule, user: MCPUserContext | None, call: Call, name: str | None) -> int:
    """The rule's weight, when its requirements are met."""
    if rule.public:
        return rule.weight
    if user is None:
        raise CredentialMissing("credential_missing")
    if not _accepts(rule, Facts(user, call, name)):
        raise Forbidden("call_not_allowed", detail=str(rule))
    for permission in rule.permissions:
        if permission not in user.permissions and not user.has_permission(permission):
            raise InsufficientScope("permission_missing", scopes=rule.permissions, detail=str(rule))
    return rule.weight


def _accepts(rule: Rule, facts: Facts, *, may: bool = False) -> bool:
    """Everything but the permissions."""
    user = facts.user
    return (
        (not rule.roles or not rule.roles.isdisjoint(user.roles))
        and (not rule.tenants or user.tenant_id in rule.tenants)
        and (not rule.providers or user.provider in rule.providers)
        and (rule.when is None or (rule.when.may_hold(facts) if may else rule.when.holds(facts)))
    )


def _checks(rule: Rule, user: MCPUserContext | None, facts: Facts | None) -> Iterator[Check]:
    if rule.public:
        yield Check("public", "everybody", met=True)
        return
    for permission in rule.permissions:
        yield Check("permission", permission, user is not None and user.has_permission(permission))
    for what, wanted, has in (
        ("role", rule.roles, frozenset() if user is None else user.roles),
        ("tenant", rule.tenants, frozenset() if user is None else {user.tenant_id}),
        ("provider", rule.providers, frozenset() if user is None else {user.provider}),
    ):
        if wanted:
            yield Check(what, " or ".join(sorted(wanted)), not wanted.isdisjoint(has))
    if rule.when is not None:
        yield from _conditions(rule.when, facts)


def _conditions(condition: Condition, facts: Facts | None, depth: int = 0) -> Iterator[Check]:
    indent = "  " * depth
    yield Check("condition", f"{indent}{condition.word} of", facts is not None and condition.holds(facts))
    for part in condition.parts:
        if isinstance(part, Condition):
            yield from _conditions(part, facts, depth + 1)
        else:
            yield Check("condition", f"{indent}  {part}", facts is not None and part.holds(facts))
