-- The keys of the users $1.
SELECT user_id, key FROM tenantry.audit_keys WHERE user_id = ANY($1::text[])
