-- Tenant $1 lives elsewhere: this database, which was its own, lets nobody in any more.
UPDATE tenantry.tenants SET state = 'moving' WHERE tenant_id = $1
