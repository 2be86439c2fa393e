"""Google service accounts: ID tokens that Google signs for any audience, with no sign-in behind them.

Sources: cloud.google.com, "Get an ID token", "Verify the identity of instances"; facts as for ``google.py``.

* The account is its numeric unique id (``sub``). Its address is given to the next account of that name.
* ``azp`` is the account itself; in a token of a person it is the client that he signed in to.
* Beside MCP_HTTP_GOOGLE_CLIENT_ID the issuer is ``google.py``'s, which hands tokens of service accounts on to here:
  each token is still shown to one of the two alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import TokenInvalid
from ..ports import Clock, Fetch, Observer
from .issuer import text_at
from .workload import NUMBER, Platform, WorkloadProvider, WorkloadSettings, number_at, plainly

KEYS_URL = "https://www.googleapis.com/oauth2/v3/certs"
_MACHINE = ("google", "compute_engine")


@dataclass(frozen=True, slots=True, kw_only=True)
class GoogleWorkloadSettings(WorkloadSettings):
    """``behind_sign_in``: the provider "google" answers for the issuer and hands on what is for this one."""

    behind_sign_in: bool = False


class GoogleWorkloadProvider(WorkloadProvider):
    """Users are ``<name>:sa:<sub>``."""

    settings: GoogleWorkloadSettings
    platform = Platform(
        claims={
            **plainly("sub email"),
            "project_id": (*_MACHINE, "project_id"),
            "zone": (*_MACHINE, "zone"),
            "instance_id": (*_MACHINE, "instance_id"),
        },
        pins={"sub": NUMBER},
    )

    def __init__(self, settings: GoogleWorkloadSettings, fetch: Fetch, clock: Clock, observe: Observer) -> None:
        super().__init__(settings, fetch, clock, observe)
        if settings.behind_sign_in:
            self.issuers = ()

    def workload_of(self, claims: Mapping[str, Any]) -> str:
        if not acts_for_itself(claims):
            raise TokenInvalid("subject_invalid", detail="it is not a service account's own token: azp is not its sub")
        return f"sa:{number_at(claims, 'sub')}"


def acts_for_itself(claims: Mapping[str, Any]) -> bool:
    """Whether the token is a service account's own: it is its own authorized party."""
    subject = text_at(claims, ("sub",))
    return subject is not None and claims.get("azp") == subject
