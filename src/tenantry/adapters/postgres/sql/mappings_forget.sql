-- The sources that were given to tenant $1 are nobody's; how many there were.
WITH gone AS (DELETE FROM tenantry.mappings WHERE tenant_id = $1 RETURNING source)
SELECT count(*) FROM gone
