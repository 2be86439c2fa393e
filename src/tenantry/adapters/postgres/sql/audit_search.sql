-- The newest rows of a table of the audit: since $1, before $2, of events $3, of users $4, of tenant $5, at most $6.
SELECT at, line
FROM {table}
WHERE ($1::timestamptz IS NULL OR at >= $1) AND ($2::timestamptz IS NULL OR at < $2)
    AND ($3::text[] IS NULL OR event = ANY($3)) AND ($4::text[] IS NULL OR user_id = ANY($4))
    AND ($5::text IS NULL OR tenant_id = $5)
ORDER BY at DESC, writer DESC, seq DESC
LIMIT $6
