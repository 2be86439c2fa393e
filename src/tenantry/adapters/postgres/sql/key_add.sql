-- Enter a key.
INSERT INTO tenantry.api_keys
    (key_id, digest, name, owner, tenant_id, permissions, not_before, expires_at, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
