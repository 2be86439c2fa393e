-- Keys $2 for the users $1, unless somebody else has made one. Lists as in audit_add.sql.
INSERT INTO tenantry.audit_keys (user_id, key)
SELECT user_id, key FROM unnest($1::text[], $2::text[]::bytea[]) AS k (user_id, key)
ON CONFLICT (user_id) DO NOTHING
