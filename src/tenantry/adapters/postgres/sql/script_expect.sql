-- Stop here if the tenant has changed since this was written: a migration must not run twice.
DO $tenantry$
BEGIN
    IF NOT EXISTS (SELECT FROM tenantry.tenants WHERE tenant_id = {tenant} AND version = {version}) THEN
        RAISE EXCEPTION 'a tenant has changed since this script was printed: print it anew';
    END IF;
END
$tenantry$
