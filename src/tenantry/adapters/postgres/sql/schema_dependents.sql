-- What outside of a schema depends on something in it, for the schemas $1.
WITH space AS (
    SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = ANY($1::name[])
), used AS (
    SELECT d.classid, d.objid, space.oid AS space
    FROM space
    JOIN pg_catalog.pg_depend AS d
        ON d.refclassid = 'pg_catalog.pg_namespace'::regclass AND d.refobjid = space.oid
        AND d.classid IN ('pg_catalog.pg_class'::regclass, 'pg_catalog.pg_proc'::regclass)
), dependent AS (
    SELECT d.classid, d.objid, used.classid AS used_classid, used.objid AS used_objid, used.space,
           coalesce(c.relnamespace, p.pronamespace, k.connamespace, v.relnamespace, f.relnamespace, t.relnamespace,
                    o.relnamespace) AS at
    FROM used
    JOIN pg_catalog.pg_depend AS d ON d.refclassid = used.classid AND d.refobjid = used.objid
    LEFT JOIN pg_catalog.pg_class AS c ON d.classid = 'pg_catalog.pg_class'::regclass AND c.oid = d.objid
    LEFT JOIN pg_catalog.pg_proc AS p ON d.classid = 'pg_catalog.pg_proc'::regclass AND p.oid = d.objid
    LEFT JOIN pg_catalog.pg_constraint AS k ON d.classid = 'pg_catalog.pg_constraint'::regclass AND k.oid = d.objid
    LEFT JOIN pg_catalog.pg_rewrite AS r ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND r.oid = d.objid
    LEFT JOIN pg_catalog.pg_class AS v ON v.oid = r.ev_class
    LEFT JOIN pg_catalog.pg_attrdef AS b ON d.classid = 'pg_catalog.pg_attrdef'::regclass AND b.oid = d.objid
    LEFT JOIN pg_catalog.pg_class AS f ON f.oid = b.adrelid
    LEFT JOIN pg_catalog.pg_trigger AS g ON d.classid = 'pg_catalog.pg_trigger'::regclass AND g.oid = d.objid
    LEFT JOIN pg_catalog.pg_class AS t ON t.oid = g.tgrelid
    LEFT JOIN pg_catalog.pg_policy AS q ON d.classid = 'pg_catalog.pg_policy'::regclass AND q.oid = d.objid
    LEFT JOIN pg_catalog.pg_class AS o ON o.oid = q.polrelid
)
SELECT n.nspname::text AS schema,
       pg_catalog.pg_describe_object(classid, objid, 0) AS dependent,
       pg_catalog.pg_describe_object(used_classid, used_objid, 0) AS used
FROM dependent
JOIN pg_catalog.pg_namespace AS n ON n.oid = space
-- What cannot be placed (a toast table, an index's own parts) goes with its table.
WHERE at <> space AND at <> 'pg_toast'::regnamespace
ORDER BY n.nspname, dependent
