-- One tenant as the registry knows it.
SELECT tenant_id, source, schema_name, role_name, dsn_id, bucket, version, state, created_at, last_seen_at
FROM tenantry.tenants
WHERE tenant_id = $1
