-- From database $2 to $3, with its bucket there; the one step by which a tenant is moved.
UPDATE tenantry.tenants SET dsn_id = $3, bucket = $4, state = 'active'
WHERE tenant_id = $1 AND dsn_id = $2 AND state = 'moving'
