-- Where writer $1 has got to in the places $2; nobody else writes for it until the transaction ends.
SELECT place, seq, hash
FROM tenantry.audit_heads
WHERE writer = $1 AND place = ANY($2::text[])
ORDER BY place
FOR UPDATE
