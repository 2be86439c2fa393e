-- The registry forgets tenant $1.
DELETE FROM tenantry.tenants WHERE tenant_id = $1
