-- Schema $1: whose it is, and what we have written on it.
SELECT pg_catalog.pg_get_userbyid(nspowner)::text AS owner,
       pg_catalog.obj_description(oid, 'pg_namespace') AS comment
FROM pg_catalog.pg_namespace
WHERE nspname = $1::name
