-- The server process of this connection: a number that may be another's after its end, so with its beginning.
SELECT pid, backend_start FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid())
