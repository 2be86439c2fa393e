-- Note what a migration was like when a tenant first had it.
-- A migration as the first tenant gets it.
INSERT INTO tenantry.migrations (number, name, phase, checksum) VALUES ($1, $2, $3, $4) ON CONFLICT (number) DO NOTHING
