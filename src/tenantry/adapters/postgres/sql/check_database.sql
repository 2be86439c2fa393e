-- What is wrong with what all tenants share. $1: the schemas that tenants have here; $2: the roles that there are for;
-- $3: the mark of this deployment; $4: the owner of the schemas; $5: how the names of our logins begin;
-- $6: the roles that must have no rights but to connect.
WITH owner AS (
    SELECT oid, rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls OR rolreplication AS powerful
    FROM pg_catalog.pg_roles
    WHERE rolname = $4::name
)
SELECT 'owner_powerful' AS problem, NULL AS detail FROM owner WHERE powerful
UNION ALL
SELECT 'owner_open', pg_catalog.quote_ident(r.rolname)
FROM owner
JOIN pg_catalog.pg_auth_members AS m ON m.roleid = owner.oid
JOIN pg_catalog.pg_roles AS r ON r.oid = m.member
WHERE r.rolname <> session_user
UNION ALL
SELECT 'owner_defaults', coalesce(pg_catalog.quote_ident(r.rolname), 'PUBLIC')
FROM owner
JOIN pg_catalog.pg_default_acl AS d ON d.defaclrole = owner.oid
CROSS JOIN pg_catalog.aclexplode(d.defaclacl) AS e
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = e.grantee
WHERE e.grantee <> owner.oid
UNION ALL
SELECT 'control_open', coalesce(pg_catalog.quote_ident(r.rolname), 'PUBLIC')
FROM pg_catalog.pg_namespace AS n
CROSS JOIN pg_catalog.aclexplode(n.nspacl) AS e
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = e.grantee
WHERE n.nspname = 'tenantry' AND e.grantee <> n.nspowner
UNION ALL
SELECT 'schema_unknown', pg_catalog.quote_ident(n.nspname)
FROM owner
JOIN pg_catalog.pg_namespace AS n ON n.nspowner = owner.oid
WHERE NOT EXISTS (SELECT FROM unnest($1::text[]) AS known (schema) WHERE known.schema::name = n.nspname)
UNION ALL
SELECT 'role_unknown', pg_catalog.quote_ident(r.rolname)
FROM pg_catalog.pg_shdescription AS d
JOIN pg_catalog.pg_roles AS r ON r.oid = d.objoid
WHERE d.classoid = 'pg_catalog.pg_authid'::regclass AND d.description = $3
    AND NOT pg_catalog.starts_with(r.rolname::text, $5)
    AND NOT EXISTS (SELECT FROM unnest($2::text[]) AS known (role) WHERE known.role::name = r.rolname)
UNION ALL
SELECT 'service_rights', pg_catalog.quote_ident(r.rolname)
FROM pg_catalog.pg_roles AS r
WHERE r.rolname = ANY($6::name[]) AND (
    r.rolcanlogin OR r.rolsuper OR r.rolcreatedb OR r.rolcreaterole OR r.rolreplication OR r.rolbypassrls
    OR EXISTS (SELECT FROM pg_catalog.pg_auth_members AS m WHERE m.member = r.oid)
    OR EXISTS (
        SELECT FROM pg_catalog.pg_shdepend AS d
        WHERE d.refclassid = 'pg_catalog.pg_authid'::regclass AND d.refobjid = r.oid AND d.deptype IN ('a', 'o')
            AND (d.classid <> 'pg_catalog.pg_database'::regclass OR d.deptype = 'o')
    )
)
