-- What some tenants have in this database.
SELECT tenant_id, version, EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = role_name) AS has_role
FROM tenantry.tenants
WHERE tenant_id = ANY($1::text[])
