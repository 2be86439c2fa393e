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
-- The operator's part of the audit: what was done to tenants and keys and by whom, and whatever happened that is of no
-- tenant or could not be written to its own table. ``line`` is the row; the other columns are for looking it up.
CREATE TABLE tenantry.audit (
    writer text NOT NULL,
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    event text NOT NULL,
    tenant_id text,
    user_id text,
    line text NOT NULL,
    PRIMARY KEY (writer, seq)
);
CREATE INDEX audit_by_time ON tenantry.audit (at);
-- The last row of each writer, here (no ``place``) and in the table of each tenant that lives in this database.
CREATE TABLE tenantry.audit_heads (
    writer text NOT NULL,
    place text NOT NULL,
    seq bigint NOT NULL,
    hash text NOT NULL,
    mac text NOT NULL,
    PRIMARY KEY (writer, place)
);
-- What relates a user's pseudonym to him. Without the row nobody can.
CREATE TABLE tenantry.audit_keys (
    user_id text PRIMARY KEY,
    key bytea NOT NULL CHECK (length(key) = 32),
    created_at timestamptz NOT NULL DEFAULT now()
);
-- What a printed script has done, until the next act takes it into the audit: a script cannot compute a chain.
CREATE TABLE tenantry.audit_unsealed (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    event text NOT NULL,
    subject text NOT NULL
);
-- Where each quota stands: ``used`` of ``capacity`` units were out of the bucket ``at`` (seconds since the epoch), and
-- ``capacity`` flow back in ``seconds``; ``granted`` of the charges that were made together last. The key is a SHA-256.
-- Not logged: after a crash everybody starts anew. Every request writes here: a page has room for rows that change.
CREATE UNLOGGED TABLE tenantry.quotas (
    key bytea PRIMARY KEY,
    used double precision NOT NULL,
    at double precision NOT NULL,
    capacity double precision NOT NULL,
    seconds double precision NOT NULL,
    granted double precision NOT NULL
) WITH (fillfactor = 50);
INSERT INTO tenantry.deployment (id, version, epoch) VALUES ({deployment}, 1, 0)
