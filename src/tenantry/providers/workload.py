"""Jobs of a platform that signs for everybody: CI pipelines and service accounts, which need no secret of ours.

What the platform's signature and our audience prove is that *some* job of *somebody* asked for a token for us: whoever
runs a job names the audience. Who may call is therefore said by rules, each of which pins an id that the platform
never gives to anybody else; the first rule that matches decides on tenant and permissions, and where none matches the
token is refused. Nothing else of a token grants anything: no e-mail address, no name, no scope.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from ..core.claims import numeric_date
from ..core.jws import UnverifiedToken
from ..errors import TokenInvalid
from ..model import Identity, TokenKind, VerifiedClaims
from .issuer import ID, ClaimPath, IssuerProvider, IssuerSettings, claim_at, text_at
from .oidc import Check

LONGEST_LIFE: Final = 86_400  # seconds from iat to exp: a token that lives longer is a secret that somebody keeps
NUMBER: Final = re.compile(r"[1-9][0-9]{0,31}")

Conditions = Mapping[str, frozenset[str]]
"""Condition -> the texts of which its claim must be one, character for character."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Who calls under which conditions: for ``tenant``, with ``permissions``, shown as ``name``."""

    name: str
    conditions: Conditions
    tenant: str
    permissions: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadSettings(IssuerSettings):
    """``rules`` in their order."""

    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Platform:
    """``claims`` are the conditions that a rule may have, and where a token answers them; ``pins`` are those that name
    an id which is given once, and its form: a rule has at least one. ``unless_said`` are conditions of every rule that
    does not name them."""

    claims: Mapping[str, ClaimPath]
    pins: Mapping[str, re.Pattern[str]]
    unless_said: Conditions = field(default_factory=dict)


class WorkloadProvider(IssuerProvider):
    """Users are ``<name>:<kind>:<id>``. A platform's provider says in ``workload_of`` whose a token is."""

    settings: WorkloadSettings
    platform: ClassVar[Platform]

    def own_checks(self) -> tuple[tuple[str, Check], ...]:
        return (("workload", self._check_workload), ("lifetime", self._check_lifetime), ("rule", self._check_rule))

    def identify(self, verified: VerifiedClaims) -> Identity:
        claims = verified.claims
        rule = self.rule_for(claims)
        if rule is None:
            raise TokenInvalid("workload_not_allowed")
        subject = self.workload_of(claims)
        return Identity(
            user_id=f"{self.name}:{subject}",  # the form of each part is checked: none of them holds a colon
            provider=self.name,
            subject=subject,
            name=rule.name,
            permissions=rule.permissions,
            tenant_id=rule.tenant,
        )

    def kind_of(self, token: UnverifiedToken, claims: Mapping[str, Any]) -> TokenKind:
        return ID

    def workload_of(self, claims: Mapping[str, Any]) -> str:
        """``<kind>:<id>`` of ids that are never given to anybody else; ``TokenInvalid`` for a token without them."""
        raise NotImplementedError

    def rule_for(self, claims: Mapping[str, Any]) -> Rule | None:
        """The first rule whose conditions the claims meet."""
        return next((rule for rule in self.settings.rules if not self._differing(rule, claims)), None)

    def _differing(self, rule: Rule, claims: Mapping[str, Any]) -> list[str]:
        paths = self.platform.claims
        return [name for name, texts in rule.conditions.items() if not _meets(claim_at(claims, paths[name]), texts)]

    # Checks

    def _check_workload(self, token: UnverifiedToken, claims: Mapping[str, Any], now: float) -> None:
        self.workload_of(claims)

    def _check_lifetime(self, token: UnverifiedToken, claims: Mapping[str, Any], now: float) -> None:
        issued, expires = numeric_date(claims, "iat"), numeric_date(claims, "exp")
        if issued is not None and expires is not None and expires - issued > LONGEST_LIFE:
            raise TokenInvalid("claims_malformed", detail="it is good for more than a day: ask for a shorter life")

    def _check_rule(self, token: UnverifiedToken, claims: Mapping[str, Any], now: float) -> None:
        """401 rather than 403: another token of the same workload, of another branch say, may do. Before the signature,
        as every check of what a token says: jobs of others cost neither a call nor a signature."""
        if self.rule_for(claims) is None:
            nearest = min(self.settings.rules, key=lambda rule: len(self._differing(rule, claims)))
            differing = ", ".join(self._differing(nearest, claims))
            raise TokenInvalid(
                "workload_not_allowed", detail=f"no rule matches; {nearest.name!r} differs in {differing}"
            )


def _meets(value: Any, texts: frozenset[str]) -> bool:
    """A boolean or a number is no text, however it is written."""
    return type(value) is str and value in texts


def number_at(claims: Mapping[str, Any], name: str) -> str:
    """The id under ``name``: digits as text, as these platforms write them. Raises ``TokenInvalid``."""
    found = text_at(claims, (name,))
    if found is None or not NUMBER.fullmatch(found):
        raise TokenInvalid("subject_invalid")
    return found


def plainly(names: str) -> dict[str, ClaimPath]:
    """Conditions that are called as their claim is."""
    return {name: (name,) for name in names.split()}
