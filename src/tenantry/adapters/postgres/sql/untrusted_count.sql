-- How many rows a statement reads, or writes and returns.
WITH statement AS (
{statement}
)
SELECT pg_catalog.count(*) FROM statement
