-- Say when a key ends, that it has been revoked, what takes its place.
UPDATE tenantry.api_keys SET expires_at = $2, revoked_at = $3, replaced_by = $4 WHERE key_id = $1
