"""What PostgreSQL's catalog says of a schema, in words that are the same for two schemas with the same content."""

from __future__ import annotations

import asyncpg

# Each line: what kind of thing, its name, and all that makes it what it is.
_SCHEMA = """
with here as (select oid from pg_namespace where nspname = $1),
     class as (select c.* from pg_class c, here where relnamespace = here.oid)
select 'relation', relname, format('%s %s %s %s', relkind, relpersistence, relrowsecurity, reloptions) from class
union all
select 'column', format('%s.%s', c.relname, a.attname),
       format('%s %s not null %s default %s identity %s generated %s collation %s options %s',
              (select count(*) from pg_attribute b
               where b.attrelid = a.attrelid and b.attnum between 1 and a.attnum and not b.attisdropped),
              format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid), a.attidentity,
              a.attgenerated, a.attcollation::regcollation, a.attoptions)
from class c
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
union all
select 'constraint', format('%s.%s', k.conrelid::regclass, k.conname),
       format('%s valid %s deferrable %s %s', pg_get_constraintdef(k.oid), convalidated, condeferrable, condeferred)
from pg_constraint k, here where k.connamespace = here.oid
union all
select 'index', c.relname, pg_get_indexdef(c.oid) || ' valid ' || i.indisvalid
from class c join pg_index i on i.indexrelid = c.oid
union all
select 'view', relname, pg_get_viewdef(oid) from class where relkind in ('v', 'm')
union all
select 'function', p.oid::regprocedure::text, pg_get_functiondef(p.oid) from pg_proc p, here
where p.pronamespace = here.oid and p.prokind <> 'a'
union all
select 'sequence', c.relname, format('%s %s %s %s %s %s', format_type(s.seqtypid, null), s.seqstart, s.seqincrement,
                                     s.seqmax, s.seqmin, s.seqcycle)
from class c join pg_sequence s on s.seqrelid = c.oid
union all
select 'trigger', format('%s.%s', t.tgrelid::regclass, t.tgname), pg_get_triggerdef(t.oid)
from pg_trigger t join class c on c.oid = t.tgrelid and not t.tgisinternal
union all
select 'policy', format('%s.%s', p.polrelid::regclass, p.polname),
       format('%s %s %s %s', p.polcmd, p.polpermissive, pg_get_expr(p.polqual, p.polrelid),
              pg_get_expr(p.polwithcheck, p.polrelid))
from pg_policy p join class c on c.oid = p.polrelid
union all
select 'comment', pg_describe_object(classoid, objoid, objsubid), description
from pg_description where (classoid = 'pg_class'::regclass and objoid in (select oid from class))
"""
_RIGHTS = """
with here as (select oid, nspacl from pg_namespace where nspname = $1)
select 'right', 'schema', acl::text from here, unnest(nspacl) acl
union all
select 'right', relname, acl::text from pg_class c, here, unnest(relacl) acl where c.relnamespace = here.oid
union all
select 'right', p.oid::regprocedure::text, acl::text from pg_proc p, here, unnest(proacl) acl
where p.pronamespace = here.oid
"""
_SERVICE = """
select 'role', rolname::text, format('%s %s %s %s %s %s %s', rolsuper, rolinherit, rolcreaterole, rolcreatedb,
                                     rolcanlogin, rolreplication, rolbypassrls)
from pg_roles where shobj_description(oid, 'pg_authid') = (select 'tenantry deployment ' || id from tenantry.deployment)
    and rolname ~ '__(owner|rest|untrusted)$'
union all
select 'default', d.defaclobjtype::text, d.defaclacl::text from pg_default_acl d
union all
select 'open', 'to everybody', format('%s %s %s', has_database_privilege('public', current_database(), 'TEMP'),
    has_database_privilege('public', current_database(), 'CONNECT'), has_schema_privilege('public', 'public', 'USAGE'))
union all
select 'migration', number::text, format('%s %s %s', name, phase, checksum) from tenantry.migrations
"""


async def definitions(connection: asyncpg.Connection, schema: str) -> list[tuple[str, str, str]]:
    """Tables, columns, constraints, indexes, views, functions and so on of a schema, without its name."""
    return await _lines(connection, _SCHEMA, schema)


async def fingerprint(connection: asyncpg.Connection, schema: str) -> list[tuple[str, str, str]]:
    """``definitions`` and who may do what with them, the tenant's role without its name too."""
    return await definitions(connection, schema) + await _lines(connection, _RIGHTS, schema)


async def service_fingerprint(connection: asyncpg.Connection) -> list[tuple[str, str, str]]:
    """The control schema, and what a deployment has in a database beside its tenants."""
    return [*await definitions(connection, "tenantry"), *await _lines(connection, _SERVICE, "tenantry")]


async def _lines(connection: asyncpg.Connection, query: str, schema: str) -> list[tuple[str, str, str]]:
    deployment = await connection.fetchval("select to_regclass('tenantry.deployment')")
    mark = await connection.fetchval("select left(id, 12) from tenantry.deployment") if deployment else None
    rows = await connection.fetch(query, *([schema] if "$1" in query else []))

    def neutral(text: str | None) -> str:
        for name, word in ((mark, "DEPLOYMENT"), (schema, "SCHEMA")):
            text = (text or "").replace(name, word) if name else text
        return text or ""

    return sorted((kind, neutral(name), neutral(text)) for kind, name, text in (tuple(row) for row in rows))
