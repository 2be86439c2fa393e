-- What the direct login may do where an administrator makes the tenants: read the registry, note what was used and
-- when, add to the audit, and keep quotas.
GRANT USAGE ON SCHEMA tenantry TO {login};
GRANT SELECT ON tenantry.deployment, tenantry.migrations, tenantry.tenants, tenantry.mappings, tenantry.api_keys
    TO {login};
GRANT UPDATE (last_seen_at) ON tenantry.tenants TO {login};
GRANT UPDATE (last_used_at) ON tenantry.api_keys TO {login};
GRANT INSERT ON tenantry.audit TO {login};
GRANT SELECT, INSERT, UPDATE ON tenantry.audit_heads TO {login};
GRANT SELECT, INSERT, DELETE ON tenantry.audit_keys TO {login};
GRANT SELECT, DELETE ON tenantry.audit_unsealed TO {login};
GRANT SELECT, INSERT, UPDATE, DELETE ON tenantry.quotas TO {login}
