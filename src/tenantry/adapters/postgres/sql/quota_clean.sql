-- Of the next $2 buckets after $1, in the order of their keys, forget the full ones: one that is not there is full too.
-- Returns the last key looked at, NULL after the end. Waits for nobody.
WITH batch AS (
    SELECT key FROM tenantry.quotas WHERE key > $1 ORDER BY key LIMIT $2
), past AS (
    SELECT quotas.key FROM tenantry.quotas JOIN batch ON batch.key = quotas.key
    WHERE quotas.at + quotas.used * quotas.seconds / quotas.capacity
        < EXTRACT(EPOCH FROM pg_catalog.clock_timestamp())
    ORDER BY quotas.key FOR UPDATE OF quotas SKIP LOCKED
), gone AS (
    DELETE FROM tenantry.quotas WHERE key IN (SELECT past.key FROM past)
)
SELECT batch.key FROM batch ORDER BY batch.key DESC LIMIT 1
