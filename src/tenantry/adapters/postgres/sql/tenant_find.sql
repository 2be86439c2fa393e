-- One tenant's version, and whether login $2 may become its role ($3: see role_state.sql).
-- NULL: the role is gone from the cluster.
SELECT t.version,
       (SELECT pg_catalog.pg_has_role($2::name, r.oid, $3::text) FROM pg_catalog.pg_roles AS r WHERE r.rolname = t.role_name)
           AS usable
FROM tenantry.tenants AS t
WHERE t.tenant_id = $1
