-- What a further database says of its tenants.
SELECT tenant_id, version FROM tenantry.tenants
