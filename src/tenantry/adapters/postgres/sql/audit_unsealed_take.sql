-- What printed scripts have done and is not in the audit yet.
DELETE FROM tenantry.audit_unsealed RETURNING id, at, actor, event, subject
