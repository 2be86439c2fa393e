-- What lets rows into schema $1 in any order and as they are, and what undoes that: foreign keys wait for the end
-- (tables may refer to each other in a circle), and triggers do not act on what they acted on before.
WITH relation AS (
    SELECT c.oid, pg_catalog.format('%I.%I', n.nspname, c.relname) AS qualified
    FROM pg_catalog.pg_namespace AS n
    JOIN pg_catalog.pg_depend AS d
        ON d.refclassid = 'pg_catalog.pg_namespace'::regclass AND d.refobjid = n.oid
        AND d.classid = 'pg_catalog.pg_class'::regclass
    JOIN pg_catalog.pg_class AS c ON c.oid = d.objid
    WHERE n.nspname = $1::name AND c.relkind IN ('r', 'p')
)
SELECT pg_catalog.format('ALTER TABLE %s ALTER CONSTRAINT %I DEFERRABLE INITIALLY DEFERRED', qualified, conname)
           AS before,
       pg_catalog.format('ALTER TABLE %s ALTER CONSTRAINT %I %s', qualified, conname,
           CASE WHEN condeferrable AND condeferred THEN 'DEFERRABLE INITIALLY DEFERRED'
                WHEN condeferrable THEN 'DEFERRABLE INITIALLY IMMEDIATE'
                ELSE 'NOT DEFERRABLE' END) AS after
FROM relation
JOIN pg_catalog.pg_constraint ON conrelid = relation.oid
WHERE contype = 'f' AND conparentid = 0
UNION ALL
SELECT pg_catalog.format('ALTER TABLE %s DISABLE TRIGGER %I', qualified, tgname),
       pg_catalog.format('ALTER TABLE %s ENABLE %s TRIGGER %I', qualified,
           CASE tgenabled WHEN 'A' THEN 'ALWAYS' WHEN 'R' THEN 'REPLICA' ELSE '' END, tgname)
FROM relation
JOIN pg_catalog.pg_trigger ON tgrelid = relation.oid
WHERE NOT tgisinternal AND tgenabled <> 'D' AND tgparentid = 0
