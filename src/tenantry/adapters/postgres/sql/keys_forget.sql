-- The keys of tenant $1 go with it; how many there were.
WITH gone AS (DELETE FROM tenantry.api_keys WHERE tenant_id = $1 RETURNING key_id)
SELECT count(*) FROM gone
