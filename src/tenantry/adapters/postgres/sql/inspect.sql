-- What this login may do, and what of the database is ready. Works for every login, also one without rights.
SELECT session_user::text AS login,
       current_setting('server_version_num')::int AS server_version,
       pg_catalog.pg_is_in_recovery() AS standby,
       rolsuper AS superuser,
       rolsuper OR rolcreaterole AS may_make_roles,
       rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls OR rolreplication OR EXISTS (
           SELECT FROM pg_catalog.pg_database AS d
           WHERE d.datname = pg_catalog.current_database() AND d.datdba = r.oid
       ) AS privileged,
       rolinherit AS inherits,
       EXISTS (
           SELECT FROM pg_catalog.pg_class AS c
           JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
           WHERE n.nspname = 'tenantry' AND c.relname = 'migrations'
       ) AS installed,
       pg_catalog.has_database_privilege('public', pg_catalog.current_database(), 'TEMP') AS anyone_may_make_temporary_tables,
       pg_catalog.has_database_privilege('public', pg_catalog.current_database(), 'CONNECT') AS anyone_may_connect,
       EXISTS (
           SELECT FROM pg_catalog.pg_namespace AS n,
                pg_catalog.aclexplode(coalesce(n.nspacl, pg_catalog.acldefault('n', n.nspowner))) AS entry
           WHERE n.nspname = 'public' AND entry.grantee = 0
       ) AS anyone_may_use_public,
       pg_catalog.has_function_privilege('public', 'pg_catalog.set_config(text, text, boolean)', 'EXECUTE')
           AS anyone_may_set_config
FROM pg_catalog.pg_roles AS r
WHERE rolname = session_user
