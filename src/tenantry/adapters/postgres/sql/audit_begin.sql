-- A head to be locked, for a writer that is not one process ($1), in the operator's part.
INSERT INTO tenantry.audit_heads (writer, place, seq, hash, mac) VALUES ($1, '', 0, $2, $3)
ON CONFLICT (writer, place) DO NOTHING
