-- The states of some tenants, as far as they live in database $2.
SELECT tenant_id, state FROM tenantry.tenants WHERE tenant_id = ANY($1::text[]) AND dsn_id = $2
