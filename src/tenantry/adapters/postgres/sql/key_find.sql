-- Keys by their ids, as the gate judges them.
SELECT key_id, digest, name, tenant_id, permissions, not_before, expires_at, revoked_at
FROM tenantry.api_keys
WHERE key_id = ANY($1::text[])
