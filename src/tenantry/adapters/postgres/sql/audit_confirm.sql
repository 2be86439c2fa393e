-- Where writers have got to. Lists as in audit_add.sql.
INSERT INTO tenantry.audit_heads (writer, place, seq, hash, mac)
SELECT writer, place, seq, hash, mac
FROM unnest($1::text[], $2::text[], $3::text[]::bigint[], $4::text[], $5::text[]) AS h (writer, place, seq, hash, mac)
ON CONFLICT (writer, place) DO UPDATE SET seq = excluded.seq, hash = excluded.hash, mac = excluded.mac
