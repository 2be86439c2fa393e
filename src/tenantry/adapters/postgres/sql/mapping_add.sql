-- Give source $1, a domain or "<provider>:<organisation>", to tenant $2.
INSERT INTO tenantry.mappings (source, tenant_id) VALUES ($1, $2)
