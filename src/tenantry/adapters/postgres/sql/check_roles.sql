-- What is wrong with the roles of tenants: pairs of a role ($1) and the login that serves it ($2). $3 is the mark of
-- this deployment, $4 the group of roles that may log in, and have the group's right to connect. Before PostgreSQL 16 a
-- membership has no options.
WITH tenant AS (
    SELECT role, login FROM unnest($1::text[], $2::text[]) AS t (role, login)
), known AS (
    SELECT role, login, r.oid, rolcanlogin, rolinherit, rolsuper, rolcreatedb, rolcreaterole, rolreplication,
           rolbypassrls
    FROM tenant
    JOIN pg_catalog.pg_roles AS r ON r.rolname = role::name
), membership AS (
    SELECT roleid, member,
           coalesce((pg_catalog.to_jsonb(m) ->> 'set_option')::boolean, true) AS may_set,
           coalesce((pg_catalog.to_jsonb(m) ->> 'inherit_option')::boolean, false) AS inherits,
           admin_option
    FROM pg_catalog.pg_auth_members AS m
), may_log_in AS (
    SELECT member FROM membership
    JOIN pg_catalog.pg_roles AS g ON g.oid = roleid
    WHERE g.rolname = $4::name
)
SELECT role, 'role_missing' AS problem, NULL AS detail
FROM tenant
WHERE NOT EXISTS (SELECT FROM known WHERE known.role = tenant.role)
UNION ALL
SELECT role, 'role_foreign', NULL
FROM known
WHERE NOT EXISTS (
    SELECT FROM pg_catalog.pg_shdescription AS d
    WHERE d.objoid = known.oid AND d.classoid = 'pg_catalog.pg_authid'::regclass AND d.description = $3
)
UNION ALL
SELECT role, 'role_attributes', words
FROM (
    SELECT role, pg_catalog.concat_ws(' ',
        CASE WHEN rolcanlogin AND NOT exempt THEN 'NOLOGIN' END,
        CASE WHEN rolinherit AND NOT exempt THEN 'NOINHERIT' END,
        CASE WHEN rolsuper THEN 'NOSUPERUSER' END,
        CASE WHEN rolcreatedb THEN 'NOCREATEDB' END,
        CASE WHEN rolcreaterole THEN 'NOCREATEROLE' END,
        CASE WHEN rolreplication THEN 'NOREPLICATION' END,
        CASE WHEN rolbypassrls THEN 'NOBYPASSRLS' END) AS words
    FROM (
        SELECT role, rolcanlogin, rolinherit, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls,
               EXISTS (SELECT FROM may_log_in WHERE member = oid) AS exempt
        FROM known
    ) AS one
) AS attributes
WHERE words <> ''
UNION ALL
SELECT role, 'role_owns', pg_catalog.count(*)::text
FROM known
JOIN pg_catalog.pg_shdepend AS d
    ON d.refclassid = 'pg_catalog.pg_authid'::regclass AND d.refobjid = known.oid AND d.deptype = 'o'
GROUP BY role
UNION ALL
SELECT role, 'role_member', pg_catalog.quote_ident(g.rolname)
FROM known
JOIN membership ON membership.member = known.oid
JOIN pg_catalog.pg_roles AS g ON g.oid = membership.roleid
WHERE g.rolname <> $4::name
UNION ALL
-- The direct login makes the roles, so it may hand them out.
SELECT role, 'role_open', pg_catalog.quote_ident(m.rolname)
FROM known
JOIN membership ON membership.roleid = known.oid
JOIN pg_catalog.pg_roles AS m ON m.oid = membership.member
WHERE m.rolname <> session_user AND (m.rolname <> login::name OR admin_option)
UNION ALL
SELECT role, 'login_cannot', NULL
FROM known
WHERE NOT EXISTS (
    SELECT FROM membership JOIN pg_catalog.pg_roles AS m ON m.oid = membership.member
    WHERE membership.roleid = known.oid AND may_set AND m.rolname = login::name
)
UNION ALL
SELECT role, 'login_inherits', NULL
FROM known
JOIN membership ON membership.roleid = known.oid AND inherits
JOIN pg_catalog.pg_roles AS m ON m.oid = membership.member
WHERE m.rolname = login::name
