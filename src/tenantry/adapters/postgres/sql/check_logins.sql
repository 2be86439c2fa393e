-- What is wrong with the logins $1 that serve requests. $2: the roles that they may be members of; $3: the mark of
-- this deployment. Before PostgreSQL 16 a login with INHERIT would have the rights of all its tenants at once.
WITH known AS (
    SELECT oid, rolname, rolinherit, rolcanlogin, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls
    FROM pg_catalog.pg_roles
    WHERE rolname = ANY($1::name[])
)
SELECT rolname::text AS role, 'login_attributes' AS problem, words AS detail
FROM (
    SELECT rolname, pg_catalog.concat_ws(' ',
        CASE WHEN NOT rolcanlogin THEN 'LOGIN' END,
        CASE WHEN rolinherit AND pg_catalog.current_setting('server_version_num')::int < 160000 THEN 'NOINHERIT' END,
        CASE WHEN rolsuper THEN 'NOSUPERUSER' END,
        CASE WHEN rolcreatedb THEN 'NOCREATEDB' END,
        CASE WHEN rolcreaterole THEN 'NOCREATEROLE' END,
        CASE WHEN rolreplication THEN 'NOREPLICATION' END,
        CASE WHEN rolbypassrls THEN 'NOBYPASSRLS' END) AS words
    FROM known
) AS attributes
WHERE words <> ''
UNION ALL
SELECT rolname::text, 'login_rights', pg_catalog.count(*)::text
FROM known
JOIN pg_catalog.pg_shdepend AS d
    ON d.refclassid = 'pg_catalog.pg_authid'::regclass AND d.refobjid = known.oid AND d.deptype IN ('a', 'o')
WHERE d.classid <> 'pg_catalog.pg_database'::regclass OR d.deptype = 'o'
GROUP BY rolname
UNION ALL
SELECT rolname::text, 'login_database', entry.privilege_type
FROM known
JOIN pg_catalog.pg_database AS d ON d.datname = pg_catalog.current_database()
CROSS JOIN pg_catalog.aclexplode(d.datacl) AS entry
WHERE entry.grantee = known.oid AND entry.privilege_type <> 'CONNECT'
UNION ALL
SELECT known.rolname::text, 'login_member', pg_catalog.quote_ident(g.rolname)
FROM known
JOIN pg_catalog.pg_auth_members AS m ON m.member = known.oid
JOIN pg_catalog.pg_roles AS g ON g.oid = m.roleid
WHERE NOT EXISTS (SELECT FROM unnest($2::text[]) AS allowed (role) WHERE allowed.role::name = g.rolname)
    AND NOT EXISTS (
        -- The roles of another deployment on this server have no rights in our databases.
        SELECT FROM pg_catalog.pg_shdescription AS d
        WHERE d.objoid = g.oid AND d.classoid = 'pg_catalog.pg_authid'::regclass
            AND pg_catalog.starts_with(d.description, 'tenantry deployment ') AND d.description <> $3
    )
UNION ALL
SELECT known.rolname::text, 'login_open', pg_catalog.quote_ident(w.rolname)
FROM known
JOIN pg_catalog.pg_auth_members AS m ON m.roleid = known.oid
JOIN pg_catalog.pg_roles AS w ON w.oid = m.member
WHERE w.rolname <> session_user
