-- When the tenants $1 were last seen.
UPDATE tenantry.tenants SET last_seen_at = $2 WHERE tenant_id = ANY($1::text[])
