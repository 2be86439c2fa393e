-- What is wrong with the schemas $1 of tenants, of which each has a role in $2. $3 is the owner of them all.
WITH tenant AS (
    SELECT schema, role FROM unnest($1::text[], $2::text[]) AS t (schema, role)
), known AS (
    SELECT schema, role, n.oid, n.nspowner, coalesce(n.nspacl, pg_catalog.acldefault('n', n.nspowner)) AS acl
    FROM tenant
    JOIN pg_catalog.pg_namespace AS n ON n.nspname = schema::name
), entry AS (
    SELECT schema, role, nspowner, e.grantee, e.privilege_type, e.is_grantable, r.rolname
    FROM known
    CROSS JOIN pg_catalog.aclexplode(acl) AS e
    LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = e.grantee
)
SELECT schema, 'schema_missing' AS problem, NULL AS detail
FROM tenant
WHERE NOT EXISTS (SELECT FROM known WHERE known.schema = tenant.schema)
UNION ALL
SELECT schema, 'schema_owner', pg_catalog.quote_ident(o.rolname)
FROM known
JOIN pg_catalog.pg_roles AS o ON o.oid = nspowner
WHERE o.rolname <> $3::name
UNION ALL
SELECT schema, 'schema_closed', NULL
FROM known
WHERE NOT EXISTS (
    SELECT FROM entry
    WHERE entry.schema = known.schema AND entry.rolname = known.role::name AND privilege_type = 'USAGE'
)
UNION ALL
SELECT DISTINCT schema, 'schema_open', coalesce(pg_catalog.quote_ident(rolname), 'PUBLIC')
FROM entry
WHERE grantee <> nspowner AND (rolname IS DISTINCT FROM role::name OR privilege_type <> 'USAGE' OR is_grantable)
