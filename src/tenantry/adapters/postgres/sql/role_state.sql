-- Whether role $1 exists ("found"), its comment, and whether login $2 may become it.
-- On PostgreSQL 16 and later, $3 is 'SET'; before, membership alone ('MEMBER') decided.
SELECT true AS found,
       pg_catalog.shobj_description(oid, 'pg_authid') AS mark,
       pg_catalog.pg_has_role($2::name, oid, $3::text) AS usable
FROM pg_catalog.pg_roles
WHERE rolname = $1::name
