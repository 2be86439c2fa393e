-- The tables of schema $1 that hold rows, with the columns that can be written. A partitioned table is its partitions.
SELECT c.relname::text AS name,
       pg_catalog.format('%I.%I', n.nspname, c.relname) AS qualified,
       ARRAY(
           SELECT a.attname::text FROM pg_catalog.pg_attribute AS a
           WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
           ORDER BY a.attnum
       ) AS columns
FROM pg_catalog.pg_namespace AS n
JOIN pg_catalog.pg_depend AS d
    ON d.refclassid = 'pg_catalog.pg_namespace'::regclass AND d.refobjid = n.oid
    AND d.classid = 'pg_catalog.pg_class'::regclass
JOIN pg_catalog.pg_class AS c ON c.oid = d.objid
WHERE n.nspname = $1::name AND c.relkind = 'r'
ORDER BY c.relname COLLATE "C"
