-- A tenant's own part of the audit, made by the owner of its schema. The tenant's role may read it.
CREATE TABLE IF NOT EXISTS {schema}.tenantry_audit (
    writer text NOT NULL,
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    event text NOT NULL,
    tenant_id text,
    user_id text,
    line text NOT NULL,
    PRIMARY KEY (writer, seq)
);
CREATE INDEX IF NOT EXISTS tenantry_audit_by_time ON {schema}.tenantry_audit (at);
GRANT SELECT ON TABLE {schema}.tenantry_audit TO {role}
