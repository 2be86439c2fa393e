-- End a server process of the same role.
SELECT pg_catalog.pg_terminate_backend(pid)
FROM pg_catalog.pg_stat_get_activity($1)
WHERE backend_start = $2
