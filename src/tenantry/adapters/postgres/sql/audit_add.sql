-- Rows of writer $1 for the operator's part or a tenant's. All lists are text: other arrays the driver has to look
-- up, with a function that a hardened database refuses.
INSERT INTO {table} (writer, seq, at, event, tenant_id, user_id, line)
SELECT $1, seq, at, event, tenant_id, user_id, line
FROM unnest($2::text[]::bigint[], $3::text[]::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[])
    AS r (seq, at, event, tenant_id, user_id, line)
