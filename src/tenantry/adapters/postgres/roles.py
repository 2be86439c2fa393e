"""Roles of ours: made once, marked, and never mistaken for somebody else's."""

from __future__ import annotations

from typing import Any

from ...errors import ConfigurationError
from .names import Deployment
from .statements import identifier, literal, load, operators_identifier, render

_SET_OPTION = 160000  # since PostgreSQL 16 a membership says separately whether it inherits and whether it may SET ROLE


def power(server_version: int) -> str:
    """What lets a login become a role, as ``pg_has_role`` calls it."""
    return "SET" if server_version >= _SET_OPTION else "MEMBER"


async def ensure_role(
    connection: Any, role: str, deployment: Deployment, server_version: int, *, member: str | None = None
) -> None:
    """Make ``role`` unless it is there, and let the login ``member`` become it.

    Raises ``ConfigurationError`` for a role without our mark: roles are shared by all databases of a cluster.
    """
    state = await connection.fetchrow(load("role_state"), role, member, power(server_version))
    if state is None:
        for statement in render("role", role=identifier(role), mark=literal(deployment.mark)):
            await connection.execute(statement)
    elif state["mark"] != deployment.mark:
        raise ConfigurationError(
            f"Role {role!r} exists and was not made by this deployment: it is left over from another one, so drop it."
        )
    if member is not None and not (state and state["usable"]):
        for statement in membership(role, member, server_version):
            await connection.execute(statement)


def membership(role: str, login: str, server_version: int) -> list[str]:
    """The statements that let ``login`` become ``role``, without having its rights all the time."""
    name = "membership" if server_version >= _SET_OPTION else "membership_15"
    return list(render(name, role=identifier(role), login=operators_identifier(login, "database login")))
