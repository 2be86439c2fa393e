-- One key, held until the transaction ends: of two that rotate it at once, the second finds it replaced.
SELECT key_id, name, owner, tenant_id, permissions, not_before, expires_at, revoked_at, created_at, last_used_at,
       replaced_by
FROM tenantry.api_keys
WHERE key_id = $1
FOR UPDATE
