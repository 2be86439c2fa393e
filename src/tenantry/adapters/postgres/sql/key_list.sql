-- All keys, or those of tenant $1, the oldest first. Never the digest: nobody has a use for reading it.
SELECT key_id, name, owner, tenant_id, permissions, not_before, expires_at, revoked_at, created_at, last_used_at,
       replaced_by
FROM tenantry.api_keys
WHERE $1::text IS NULL OR tenant_id = $1
ORDER BY created_at, key_id
