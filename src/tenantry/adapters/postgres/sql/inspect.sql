-- What this login may do, and what of the database is ready. Works for every login, also one without rights.
SELECT session_user::text AS login,
       rolsuper AS superuser,
       rolsuper OR rolcreaterole AS may_make_roles,
       current_setting('server_version_num')::int AS server_version,
       EXISTS (
           SELECT FROM pg_catalog.pg_class AS c
           JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
           WHERE n.nspname = 'tenantry' AND c.relname = 'tenants'
       ) AS installed,
       pg_catalog.has_database_privilege('public', pg_catalog.current_database(), 'TEMP') AS anyone_may_make_temporary_tables,
       EXISTS (
           SELECT FROM pg_catalog.pg_namespace AS n,
                pg_catalog.aclexplode(coalesce(n.nspacl, pg_catalog.acldefault('n', n.nspowner))) AS entry
           WHERE n.nspname = 'public' AND entry.grantee = 0
       ) AS anyone_may_use_public
FROM pg_catalog.pg_roles
WHERE rolname = session_user
