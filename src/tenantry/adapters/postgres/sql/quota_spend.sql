-- Take from each bucket as many of ``granted`` equal charges as it has room for. The row proposed for a bucket is the
-- answer of a full one; a kept row first flows back for the time since ``at``, by this server's clock alone.
-- ``at`` can be ahead of the clock where the row was locked while this statement waited, by no more than a second: what
-- is further ahead was written by a clock that has been set back.
INSERT INTO tenantry.quotas AS kept (key, used, at, capacity, seconds, granted)
SELECT asked.key, asked.granted * asked.weight, EXTRACT(EPOCH FROM pg_catalog.clock_timestamp()), asked.capacity,
    asked.seconds, asked.granted
FROM unnest($1::bytea[], $2::float8[], $3::float8[], $4::float8[], $5::float8[])
    AS asked (key, weight, granted, capacity, seconds)
ORDER BY asked.key
ON CONFLICT (key) DO UPDATE SET (used, at, capacity, seconds, granted) = (
    SELECT room.used + room.granted * room.weight, room.at, EXCLUDED.capacity, EXCLUDED.seconds, room.granted
    FROM (
        SELECT present.used, present.at, present.weight, GREATEST(0, LEAST(
            EXCLUDED.granted, FLOOR((EXCLUDED.capacity - present.used + 1e-6) / present.weight)
        )) AS granted
        FROM (
            SELECT moment.at, EXCLUDED.used / EXCLUDED.granted AS weight, LEAST(EXCLUDED.capacity, GREATEST(0,
                kept.used - (moment.at - LEAST(kept.at, moment.at)) * EXCLUDED.capacity / EXCLUDED.seconds
            )) AS used
            FROM (SELECT GREATEST(EXCLUDED.at, LEAST(kept.at, EXCLUDED.at + 1)) AS at) AS moment
        ) AS present
    ) AS room
)
RETURNING kept.key, kept.used, kept.granted
