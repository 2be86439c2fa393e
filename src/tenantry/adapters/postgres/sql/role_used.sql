-- Whether role $1 has rights in any database of the cluster.
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_shdepend AS d
    JOIN pg_catalog.pg_roles AS r ON r.oid = d.refobjid
    WHERE d.refclassid = 'pg_catalog.pg_authid'::regclass AND r.rolname = $1::name
      AND d.classid <> 'pg_catalog.pg_auth_members'::regclass
)
