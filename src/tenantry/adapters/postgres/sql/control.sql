-- The control schema: which tenants there are and how far their migrations are. No tenant role can read it.
CREATE SCHEMA IF NOT EXISTS tenantry;
REVOKE ALL ON SCHEMA tenantry FROM PUBLIC;
-- One row: the name of this deployment, which every role that it makes carries in its comment.
CREATE TABLE IF NOT EXISTS tenantry.deployment (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    id text NOT NULL
);
CREATE TABLE IF NOT EXISTS tenantry.tenants (
    tenant_id text PRIMARY KEY,
    schema_name text NOT NULL UNIQUE,
    role_name text NOT NULL UNIQUE,
    version integer NOT NULL CHECK (version >= 0),
    created_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO tenantry.deployment (id) VALUES ({deployment}) ON CONFLICT DO NOTHING
