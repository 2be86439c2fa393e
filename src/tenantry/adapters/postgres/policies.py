"""Row-level security for each user inside a tenant, as text for the application's migrations.

    user_policy("notes")                                     # each user's own rows
    user_policy("notes", permission="notes:admin")           # and all to read for who has that permission

A user is whom the scope was entered for (``tenant_connection(user)``); without one there are no rows. The tables'
owner is exempt, and with it what runs with the owner's rights: migrations, views without ``security_invoker``,
``SECURITY DEFINER`` functions.
"""

from __future__ import annotations

from .statements import identifier, literal

# In an ordinary scope the login only became the tenant's role, and the settings are ours. Where the role itself is the
# login (untrusted_connection), they can be believed if nothing that stands in a query can change one: without
# set_config. Otherwise there are no rows. In brackets with SELECT it is asked once for a statement, not for each row.
_BELIEVED = (
    "(SELECT session_user <> current_user OR NOT pg_catalog.has_function_privilege("
    "'pg_catalog.set_config(text, text, boolean)', 'EXECUTE'))"
)
_USER = "(SELECT nullif(pg_catalog.current_setting('tenantry.user_id', true), ''))"
_HAS = "(SELECT {permission} = ANY (pg_catalog.string_to_array({settings}, ' ')))"
_PERMISSIONS = "pg_catalog.current_setting('tenantry.permissions', true)"


def user_policy(table: str, column: str = "user_id", *, permission: str | None = None) -> str:
    """The statements that keep each user of a tenant to the rows whose ``column`` (a text) is his ``user_id``.

    ``permission``: whoever has exactly this one (no ``notes:*`` or ``admin`` in its place) reads all rows. Rows are
    made for oneself only: ``WITH CHECK``. Raises ``ValueError`` for a name that tenantry does not write, and for a
    permission with a blank in it.
    """
    name = identifier(table)
    mine = f"{identifier(column)} = {_USER} AND {_BELIEVED}"
    statements = [
        f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY",
        f"CREATE POLICY tenantry_user ON {name} USING ({mine}) WITH CHECK ({mine})",
    ]
    if permission is not None:
        if not permission or any(character.isspace() for character in permission):
            raise ValueError("a permission is one word, such as notes:admin")
        has = _HAS.format(permission=literal(permission), settings=_PERMISSIONS)
        statements.append(f"CREATE POLICY tenantry_permission ON {name} FOR SELECT USING ({has} AND {_BELIEVED})")
    return ";\n".join(statements) + ";\n"
