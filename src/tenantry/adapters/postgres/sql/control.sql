-- The control schema, version 1. No tenant role can read it. In the main database it is the registry of all tenants;
-- in a further one, ``tenants`` has the rows of those that live there and the rest stays empty.
CREATE SCHEMA tenantry;
REVOKE ALL ON SCHEMA tenantry FROM PUBLIC;
-- One row. ``id`` is in the name and the comment of every role we make; ``epoch`` grows with each change that all
-- replicas must hear of.
CREATE TABLE tenantry.deployment (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    id text NOT NULL,
    version integer NOT NULL,
    epoch bigint NOT NULL
);
-- The application's migrations as they were when a tenant first had them.
CREATE TABLE tenantry.migrations (
    number integer PRIMARY KEY CHECK (number > 0),
    name text NOT NULL,
    phase text NOT NULL CHECK (phase IN ('pre', 'post')),
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
-- ``source``: the domain or organisation ("example.com", "auth0:org_1"); NULL for a person or where nobody said.
-- ``bucket``: which login serves it; ``version``: how many of the application's migrations it has.
CREATE TABLE tenantry.tenants (
    tenant_id text PRIMARY KEY,
    source text,
    schema_name text NOT NULL UNIQUE,
    role_name text NOT NULL UNIQUE,
    dsn_id text NOT NULL,
    bucket integer NOT NULL CHECK (bucket >= 0),
    version integer NOT NULL CHECK (version >= 0),
    state text NOT NULL CHECK (state IN ('creating', 'active', 'suspended', 'moving', 'dropping')),
    created_at timestamptz NOT NULL DEFAULT now(),
    last_seen_at timestamptz
);
CREATE INDEX tenants_by_bucket ON tenantry.tenants (dsn_id, bucket);
-- A domain, or "<provider>:<organisation>", that an operator gave to a tenant.
CREATE TABLE tenantry.mappings (
    source text PRIMARY KEY,
    tenant_id text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
-- Of a key only its SHA-256 is kept. Without a ``tenant_id`` its holder has a tenant of his own.
CREATE TABLE tenantry.api_keys (
    key_id text PRIMARY KEY,
    digest bytea NOT NULL UNIQUE CHECK (length(digest) = 32),
    name text NOT NULL,
    owner text,
    tenant_id text,
    permissions text[] NOT NULL,
    not_before timestamptz,
    expires_at timestamptz,
    revoked_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz,
    replaced_by text
);
-- What was done to tenants and keys, and by whom.
CREATE TABLE tenantry.audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    detail jsonb
);
-- Where each quota stands. Not logged: after a crash everybody starts anew.
CREATE UNLOGGED TABLE tenantry.quotas (
    key text PRIMARY KEY,
    arrival double precision NOT NULL
);
INSERT INTO tenantry.deployment (id, version, epoch) VALUES ({deployment}, 1, 0)
