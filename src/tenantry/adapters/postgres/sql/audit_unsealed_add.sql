-- What is done by a printed script, for the next act to take into the audit.
INSERT INTO tenantry.audit_unsealed (actor, event, subject) VALUES ($1, $2, $3)
