-- Take source $1 from the tenant that it was given to.
DELETE FROM tenantry.mappings WHERE source = $1 RETURNING tenant_id
