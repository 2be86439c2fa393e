-- Whether role $1 is there and login $2 may become it ($3: 'SET', on PostgreSQL 15 'MEMBER').
SELECT pg_catalog.pg_has_role(login.oid, role.oid, $3::text)
FROM pg_catalog.pg_roles AS role, pg_catalog.pg_roles AS login
WHERE role.rolname = $1::name AND login.rolname = $2::name
