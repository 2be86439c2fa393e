-- Bring tenant $1 from state $2 into state $3, unless somebody else was faster.
UPDATE tenantry.tenants SET state = $3 WHERE tenant_id = $1 AND state = $2
