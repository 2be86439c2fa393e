"""What ``tenantry tenants check`` can find: the sentence for each, and the statement that mends it where one does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Mender = Literal["direct", "owner", "maker", "nobody"]


class Problem(NamedTuple):
    """``sentence`` and ``mend`` have places for what was found. ``mender``: who runs ``mend`` as SQL, the direct login
    or the schemas' owner; "maker": making the tenant's role, membership and grants anew does; "nobody": people."""

    sentence: str
    mender: Mender
    mend: str


_ANEW = "make its role and grants anew"
PROBLEMS: dict[str, Problem] = {
    # The registry
    "names": Problem(
        "its schema or role is not called as its id says", "nobody", "find out who changed tenantry.tenants"
    ),
    "database_unknown": Problem(
        "it lives in a database that the settings do not name", "nobody", "name {detail} in MCP_HTTP_DATABASES"
    ),
    "unfinished": Problem("it has been {detail} by half", "nobody", "run that command again"),
    "version": Problem(
        "it has {detail} migrations, more than this program knows", "nobody", "use the release that knows them"
    ),
    "behind": Problem("it lacks migrations ({detail}) and is answered 503", "nobody", "tenantry migrate"),
    "not_here": Problem("its database does not list it", "nobody", "find out who changed tenantry.tenants there"),
    "version_differs": Problem(
        "registry and database disagree on its version ({detail})", "nobody", "tenantry migrate"
    ),
    "migrations": Problem("{detail}", "nobody", "restore the files"),
    # Its role
    "role_missing": Problem("its role {role} is missing", "maker", _ANEW),
    "role_foreign": Problem(
        "its role {role} was not made by this deployment", "nobody", "find out whose it is, and drop that"
    ),
    "role_attributes": Problem("its role {role} must not be as it is", "direct", "ALTER ROLE {role} {detail}"),
    "role_owns": Problem("its role {role} owns {detail} things", "nobody", "REASSIGN OWNED BY {role} TO {owner}"),
    "role_member": Problem("its role {role} may become {detail}", "direct", "REVOKE {detail} FROM {role}"),
    "role_open": Problem("{detail} may become its role {role}", "direct", "REVOKE {role} FROM {detail}"),
    "login_cannot": Problem("the login {login} may not become its role {role}", "maker", _ANEW),
    "login_inherits": Problem(
        "the login {login} has the rights of {role} all the time",
        "direct",
        "GRANT {role} TO {login} WITH INHERIT FALSE, SET TRUE",
    ),
    # Its schema
    "schema_missing": Problem("its schema {schema} is missing, with all it had", "nobody", "restore a backup"),
    "schema_owner": Problem(
        "its schema {schema} belongs to {detail}", "nobody", "ALTER SCHEMA {schema} OWNER TO {owner}"
    ),
    "schema_closed": Problem("its role may not use its schema {schema}", "maker", _ANEW),
    "schema_open": Problem(
        "{detail} has rights on its schema {schema}", "owner", "REVOKE ALL ON SCHEMA {schema} FROM {detail}"
    ),
    "thing_owner": Problem("{name} belongs to {detail}", "nobody", "ALTER ... OWNER TO {owner}"),
    "thing_closed": Problem("its role lacks {detail} on {name}", "maker", _ANEW),
    "thing_open": Problem("{detail} has rights on {name}", "owner", "REVOKE ALL ON {kind} {name} FROM {detail}"),
    "definer_open": Problem(
        "the function {name} runs with its owner's rights where the caller says",
        "owner",
        "ALTER ROUTINE {name} SET search_path = {schema}, pg_temp",
    ),
    "dependent": Problem("{detail} uses {name}", "nobody", "drop or change it: no schema may use another tenant's"),
    # What all share
    "login_attributes": Problem("the login {role} must not be as it is", "direct", "ALTER ROLE {role} {detail}"),
    "login_rights": Problem("the login {role} has rights of its own on {detail} things", "nobody", "REVOKE them"),
    "login_database": Problem("the login {role} has {detail} on the database", "nobody", "REVOKE {detail} ON DATABASE"),
    "login_member": Problem(
        "the login {role} may become {detail}, which is no tenant's role here", "direct", "REVOKE {detail} FROM {role}"
    ),
    "login_open": Problem("{detail} may become the login {role}", "direct", "REVOKE {role} FROM {detail}"),
    "owner_powerful": Problem(
        "the owner of the schemas, {owner}, has powers", "nobody", "ALTER ROLE {owner} NOLOGIN ..."
    ),
    "owner_open": Problem("{detail} may become the owner of all schemas", "direct", "REVOKE {owner} FROM {detail}"),
    "service_rights": Problem("{detail}, which is to have no rights, has some", "nobody", "REVOKE them"),
    "owner_defaults": Problem(
        "{detail} gets rights on whatever the schemas' owner makes",
        "nobody",
        "ALTER DEFAULT PRIVILEGES FOR ROLE {owner}",
    ),
    "control_open": Problem(
        "{detail} may use schema tenantry", "direct", "REVOKE ALL ON SCHEMA tenantry FROM {detail}"
    ),
    "database_open": Problem("the database is open to everybody", "nobody", "what `tenantry migrate --script` prints"),
    "schema_unknown": Problem(
        "schema {detail} is of no tenant that lives here",
        "nobody",
        "tenantry tenants move TENANT --purge, where a move has left it",
    ),
    "role_unknown": Problem("role {detail} is of no tenant", "nobody", "DROP ROLE {detail}, when nothing uses it"),
}


@dataclass(slots=True)
class Finding:
    """One thing that is not as it should be. ``words`` fill the sentence; names in it are quoted for SQL."""

    problem: str
    database: str
    tenant_id: str | None
    words: dict[str, str]
    repaired: bool = False

    @property
    def known(self) -> Problem:
        return PROBLEMS[self.problem]

    @property
    def statement(self) -> str | None:
        """The SQL that mends it, if one statement does."""
        return self.mend if self.known.mender in ("direct", "owner") else None

    @property
    def mend(self) -> str:
        return self.known.mend.format(**self.words)

    @property
    def key(self) -> tuple[object, ...]:
        """The same for the same finding in another run."""
        return self.problem, self.database, self.tenant_id, tuple(sorted(self.words.items()))

    def __str__(self) -> str:
        who = f"tenant {self.tenant_id}" if self.tenant_id is not None else f"database {self.database}"
        what = self.known.sentence.format(**self.words)
        return f"{who}: {what}: {'repaired' if self.repaired else self.mend}"

    def members(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "problem": self.problem,
            "database": self.database,
            "tenant_id": self.tenant_id,
            "found": self.known.sentence.format(**self.words),
            "mend": self.mend,
            "repaired": self.repaired,
        }
