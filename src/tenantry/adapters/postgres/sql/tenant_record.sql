-- Enter a tenant into the control schema, or move it to version $4.
INSERT INTO tenantry.tenants (tenant_id, schema_name, role_name, version)
VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant_id) DO UPDATE SET version = excluded.version
