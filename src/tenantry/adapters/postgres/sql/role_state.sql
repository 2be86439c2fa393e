-- The comment of role $1, and whether $2 may become it ($3: 'SET', on PostgreSQL 15 'MEMBER').
SELECT pg_catalog.shobj_description(oid, 'pg_authid') AS mark,
       $2::name IS NULL OR pg_catalog.pg_has_role($2::name, oid, $3::text) AS usable
FROM pg_catalog.pg_roles
WHERE rolname = $1::name
