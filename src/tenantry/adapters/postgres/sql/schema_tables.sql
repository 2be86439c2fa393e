-- At most $2 tables of schema $1, partitions before what they are partitions of.
SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) AS qualified
FROM pg_catalog.pg_namespace AS n
JOIN pg_catalog.pg_depend AS d
    ON d.refclassid = 'pg_catalog.pg_namespace'::regclass AND d.refobjid = n.oid
    AND d.classid = 'pg_catalog.pg_class'::regclass
JOIN pg_catalog.pg_class AS c ON c.oid = d.objid
WHERE n.nspname = $1::name AND c.relkind IN ('r', 'p')
ORDER BY c.relkind DESC, c.oid
LIMIT $2
