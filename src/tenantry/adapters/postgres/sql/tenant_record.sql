-- Enter a tenant into the registry, or change what is known of it. A source once known stays, and so does a state
-- other than "creating": who made the tenant cannot undo what an operator said meanwhile.
INSERT INTO tenantry.tenants (tenant_id, source, schema_name, role_name, dsn_id, bucket, version, state)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (tenant_id) DO UPDATE
SET source = coalesce(excluded.source, tenants.source), schema_name = excluded.schema_name,
    role_name = excluded.role_name, dsn_id = excluded.dsn_id, bucket = excluded.bucket, version = excluded.version,
    state = CASE tenants.state WHEN 'creating' THEN excluded.state ELSE tenants.state END
RETURNING tenant_id, source, schema_name, role_name, dsn_id, bucket, version, state, created_at, last_seen_at
