-- What is wrong with the rights on what the schemas $1 hold, of which each has a role in $2. $3 is the owner of all.
-- Of its trail (tenantry_audit) a tenant may only read.
WITH space AS (
    SELECT n.oid, t.schema, t.role, r.oid AS role_oid
    FROM unnest($1::text[], $2::text[]) AS t (schema, role)
    JOIN pg_catalog.pg_namespace AS n ON n.nspname = t.schema::name
    JOIN pg_catalog.pg_roles AS r ON r.rolname = t.role::name
), thing AS (
    SELECT schema, role, role_oid, c.relowner AS owner, c.oid, 'pg_catalog.pg_class'::regclass AS class,
           CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind,
           coalesce(c.relacl, pg_catalog.acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))
               AS acl,
           CASE WHEN c.relkind = 'S' THEN 'U' WHEN c.relname = 'tenantry_audit' THEN 'r' ELSE 'arwd' END AS letters,
           CASE WHEN c.relkind = 'S' THEN ARRAY['USAGE'] WHEN c.relname = 'tenantry_audit' THEN ARRAY['SELECT']
                ELSE ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE'] END AS wanted
    FROM space
    JOIN pg_catalog.pg_class AS c ON c.relnamespace = space.oid
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION ALL
    SELECT schema, role, role_oid, p.proowner, p.oid, 'pg_catalog.pg_proc'::regclass, 'ROUTINE',
           coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner)), 'X', ARRAY['EXECUTE']
    FROM space
    JOIN pg_catalog.pg_proc AS p ON p.pronamespace = space.oid
), odd AS (
    -- Nearly all have just these two entries, and need no closer look.
    SELECT schema, role, role_oid, owner, oid, class, kind, acl, wanted
    FROM thing
    WHERE NOT (
        pg_catalog.cardinality(acl) = 2 AND pg_catalog.starts_with(acl[1]::text, $3 || '=')
        AND acl[2]::text = role || '=' || letters || '/' || $3
    )
), entry AS (
    SELECT schema, role_oid, owner, oid, class, kind, wanted, e.grantee, e.privilege_type, e.is_grantable
    FROM odd
    CROSS JOIN pg_catalog.aclexplode(acl) AS e
)
SELECT schema, 'thing_owner' AS problem, kind, pg_catalog.pg_describe_object(class, thing.oid, 0) AS name,
       pg_catalog.quote_ident(o.rolname) AS detail
FROM thing
JOIN pg_catalog.pg_roles AS o ON o.oid = thing.owner
WHERE o.rolname <> $3::name
UNION ALL
SELECT schema, 'thing_closed', kind, pg_catalog.pg_describe_object(class, oid, 0), privilege
FROM odd
CROSS JOIN unnest(wanted) AS privilege
WHERE NOT EXISTS (
    SELECT FROM entry
    WHERE entry.oid = odd.oid AND entry.class = odd.class AND grantee = odd.role_oid AND privilege_type = privilege
)
UNION ALL
SELECT DISTINCT schema, 'thing_open', kind,
       CASE WHEN kind = 'ROUTINE' THEN entry.oid::regprocedure::text ELSE entry.oid::regclass::text END,
       coalesce(pg_catalog.quote_ident(r.rolname), 'PUBLIC')
FROM entry
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = grantee
WHERE grantee <> owner AND (grantee <> role_oid OR privilege_type <> ALL(wanted) OR is_grantable)
UNION ALL
SELECT DISTINCT schema, 'thing_open', kind, thing.oid::regclass::text, coalesce(pg_catalog.quote_ident(r.rolname), 'PUBLIC')
FROM thing
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = thing.oid AND a.attacl IS NOT NULL
CROSS JOIN pg_catalog.aclexplode(a.attacl) AS e
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = e.grantee
WHERE class = 'pg_catalog.pg_class'::regclass AND e.grantee <> owner
UNION ALL
SELECT schema, 'definer_open', 'ROUTINE', p.oid::regprocedure::text, NULL
FROM space
JOIN pg_catalog.pg_proc AS p ON p.pronamespace = space.oid
WHERE p.prosecdef AND NOT EXISTS (
    SELECT FROM unnest(p.proconfig) AS setting
    WHERE pg_catalog.replace(pg_catalog.replace(setting, '"', ''), ' ', '')
        IN ('search_path=' || schema || ',pg_temp', 'search_path=pg_catalog,' || schema || ',pg_temp',
            'search_path=pg_catalog,pg_temp')
)
