-- Where the tenants $1 live that may be written to. They stay there, and nobody begins to move or drop one, until the
-- transaction ends.
SELECT tenant_id, schema_name, role_name, dsn_id
FROM tenantry.tenants
WHERE tenant_id = ANY($1::text[]) AND state IN ('active', 'suspended')
ORDER BY tenant_id
FOR SHARE
