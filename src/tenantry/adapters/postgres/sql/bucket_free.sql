-- The fullest login of database $1 that has fewer than $2 tenants, else the next number.
SELECT coalesce(
    (SELECT bucket FROM tenantry.tenants WHERE dsn_id = $1 GROUP BY bucket HAVING count(*) < $2
     ORDER BY count(*) DESC, bucket LIMIT 1),
    (SELECT max(bucket) + 1 FROM tenantry.tenants WHERE dsn_id = $1),
    0
)
