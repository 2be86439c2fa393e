"""What is said to a session: on entering a tenant, on leaving it, and so that nothing stays."""

from __future__ import annotations

from typing import NamedTuple

from ...model import MCPUserContext
from .names import Names
from .statements import identifier, literal

# Temporary tables are what it leaves, so nobody may make one (harden.sql). A cursor WITH HOLD survives a transaction
# and would hand its rows on.
_CLEAN_UP = (
    "RESET SESSION AUTHORIZATION;RESET ROLE;RESET ALL;CLOSE ALL;UNLISTEN *;SELECT pg_catalog.pg_advisory_unlock_all()"
)
# Statements prepared in SQL outlive it too: under the driver's own name one would run in place of the next tenant's
# query. A session that has any is ended; the status word of this tells.
_LOOK = ";SELECT FROM pg_catalog.pg_prepared_statement() WHERE from_sql"
NOTHING_LEFT = "SELECT 0"
END_SESSION = "SELECT pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid())"
# COMMIT of a transaction in which a statement failed is a silent ROLLBACK. SET CONSTRAINTS is an error there,
# and otherwise does what COMMIT would do next, while the tenant's role still applies.
_COMMIT = "SET CONSTRAINTS ALL IMMEDIATE;COMMIT;"


class Manners(NamedTuple):
    """What is said to a session around BEGIN and the tenant's work. ``look`` follows an ending where a handler may
    have prepared statements; a ``lent`` session is held by a transaction until it has been looked through."""

    before: str
    commit: str
    rollback: str
    look: str
    lent: bool


DIRECT = Manners("", _COMMIT + _CLEAN_UP, f"ROLLBACK;{_CLEAN_UP}", _LOOK, lent=False)
# A pooler lends its server connections: what somebody does outside of a transaction waits there for whoever is next,
# so it is cleaned before as well (COMMIT, because BEGIN would take these statements into its own transaction, and
# UNLISTEN waits for the end of one). Statements are no more kept there than ours are ...
LENT = Manners(
    f"DEALLOCATE ALL;{_CLEAN_UP};COMMIT;",
    f"{_COMMIT}DEALLOCATE ALL;{_CLEAN_UP}",
    f"ROLLBACK;DEALLOCATE ALL;{_CLEAN_UP}",
    "",
    lent=True,
)
# ... unless the pooler itself keeps track of the driver's.
LENT_WITH_STATEMENTS = Manners(
    f"{_CLEAN_UP};COMMIT;", _COMMIT + _CLEAN_UP, f"ROLLBACK;{_CLEAN_UP}", f";BEGIN{_LOOK}", lent=True
)


def opening(names: Names) -> str:
    """What follows BEGIN for a tenant."""
    return f";SET LOCAL ROLE {identifier(names.role)};SET LOCAL search_path={identifier(names.schema)},pg_temp"


def limiting(seconds: float) -> str:
    """What limits each statement of the transaction."""
    return f";SET LOCAL statement_timeout={milliseconds(seconds)}"


def entering(
    manners: Manners, opening: str, user: MCPUserContext | None, *, readonly: bool, timeout: float | None
) -> str:
    """The one string that enters a tenant. ``timeout`` is the limit of each statement in seconds.

    Raises ``ValueError`` for a timeout outside 1 ms to 24 days (int4).
    """
    text = f"{manners.before}BEGIN{' READ ONLY' if readonly else ''}{opening}"
    if timeout is not None:
        text += limiting(timeout)
    if user is not None:
        permissions = literal(" ".join(sorted(user.permissions)))
        text += f";SET LOCAL tenantry.user_id={literal(user.user_id)};SET LOCAL tenantry.permissions={permissions}"
    return text


def milliseconds(seconds: float) -> int:
    """As PostgreSQL takes a limit. Raises ``ValueError`` outside of what an int4 holds."""
    number = round(seconds * 1000)
    if not 1 <= number < 2**31:
        raise ValueError("a timeout is between 0.001 and 2147483 seconds")
    return number
