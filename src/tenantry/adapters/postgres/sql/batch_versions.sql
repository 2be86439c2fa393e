-- Enter which versions tenants have now. Nobody goes back, and one that lives elsewhere by now is not meant.
UPDATE tenantry.tenants AS t
SET version = reached.version
FROM unnest($1::text[], $2::integer[]) AS reached (tenant_id, version)
WHERE t.tenant_id = reached.tenant_id AND t.version < reached.version AND t.dsn_id = $3
