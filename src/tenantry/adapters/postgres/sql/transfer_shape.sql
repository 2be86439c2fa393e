-- What schema $1 is made of, one line a part, by names: texts of definitions differ between servers of different
-- versions, and so do NOT NULL constraints, which a column tells anyway. The
-- trail (the audit) is not made by migrations.
WITH space AS (
    SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = $1::name
), relation AS (
    SELECT c.oid, c.relname::text AS name, c.relkind::text AS kind
    FROM space
    JOIN pg_catalog.pg_depend AS d
        ON d.refclassid = 'pg_catalog.pg_namespace'::regclass AND d.refobjid = space.oid
        AND d.classid = 'pg_catalog.pg_class'::regclass
    JOIN pg_catalog.pg_class AS c ON c.oid = d.objid
    WHERE c.relname <> 'tenantry_audit'
)
SELECT 'relation ' || name || ' ' || kind AS part FROM relation WHERE kind IN ('r', 'p', 'v', 'm', 'f', 'S')
UNION ALL
SELECT 'column ' || name || '.' || attname || ' ' || pg_catalog.format_type(atttypid, atttypmod)
       || CASE WHEN attnotnull THEN ' not null' ELSE '' END || ' ' || attidentity::text || attgenerated::text
FROM relation JOIN pg_catalog.pg_attribute ON attrelid = oid
WHERE attnum > 0 AND NOT attisdropped AND kind IN ('r', 'p', 'v', 'm', 'f')
UNION ALL
SELECT 'constraint ' || name || '.' || conname || ' ' || contype::text
FROM relation JOIN pg_catalog.pg_constraint AS c ON conrelid = relation.oid
WHERE contype <> 'n'
UNION ALL
SELECT 'index ' || c.relname
FROM relation
JOIN pg_catalog.pg_index AS i ON i.indrelid = relation.oid
JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
UNION ALL
SELECT 'trigger ' || name || '.' || tgname
FROM relation JOIN pg_catalog.pg_trigger AS t ON tgrelid = relation.oid
WHERE NOT tgisinternal
UNION ALL
SELECT 'policy ' || name || '.' || polname
FROM relation JOIN pg_catalog.pg_policy AS p ON polrelid = relation.oid
UNION ALL
SELECT 'routine ' || proname || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')'
FROM space
JOIN pg_catalog.pg_depend AS d
    ON d.refclassid = 'pg_catalog.pg_namespace'::regclass AND d.refobjid = space.oid
    AND d.classid = 'pg_catalog.pg_proc'::regclass
JOIN pg_catalog.pg_proc AS p ON p.oid = d.objid
