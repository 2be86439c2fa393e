-- All sources that an operator gave to a tenant.
SELECT source, tenant_id FROM tenantry.mappings
