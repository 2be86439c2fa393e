-- The role $1, whoever made it.
SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $1::name
