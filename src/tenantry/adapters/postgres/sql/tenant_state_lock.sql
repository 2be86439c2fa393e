-- The state of tenant $1, which nobody else changes until the transaction ends.
SELECT state FROM tenantry.tenants WHERE tenant_id = $1 FOR UPDATE
