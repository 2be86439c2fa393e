-- Those of the locks $1 that nobody else holds, held until the transaction ends.
SELECT number, pg_catalog.pg_try_advisory_xact_lock(number) AS held FROM unnest($1::bigint[]) AS name (number)
