-- The materialized views of schema $1 that have rows, each after those that it may read.
SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) AS qualified
FROM pg_catalog.pg_namespace AS n
JOIN pg_catalog.pg_depend AS d
    ON d.refclassid = 'pg_catalog.pg_namespace'::regclass AND d.refobjid = n.oid
    AND d.classid = 'pg_catalog.pg_class'::regclass
JOIN pg_catalog.pg_class AS c ON c.oid = d.objid
WHERE n.nspname = $1::name AND c.relkind = 'm' AND c.relispopulated
ORDER BY c.oid
