-- When the keys $1 were last used.
UPDATE tenantry.api_keys SET last_used_at = $2 WHERE key_id = ANY($1::text[])
