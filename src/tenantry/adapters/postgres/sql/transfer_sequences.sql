-- The sequences of schema $1, also those of identity columns, and the query for where each stands.
SELECT c.relname::text AS name,
       pg_catalog.format('SELECT last_value, is_called FROM %I.%I', n.nspname, c.relname) AS query
FROM pg_catalog.pg_namespace AS n
JOIN pg_catalog.pg_depend AS d
    ON d.refclassid = 'pg_catalog.pg_namespace'::regclass AND d.refobjid = n.oid
    AND d.classid = 'pg_catalog.pg_class'::regclass
JOIN pg_catalog.pg_class AS c ON c.oid = d.objid
WHERE n.nspname = $1::name AND c.relkind = 'S'
ORDER BY c.relname COLLATE "C"
