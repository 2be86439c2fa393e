-- Keys that are there already, by id or by digest.
SELECT key_id, digest FROM tenantry.api_keys WHERE key_id = ANY($1::text[]) OR digest = ANY($2::bytea[])
