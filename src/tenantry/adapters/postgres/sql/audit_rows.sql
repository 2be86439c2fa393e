-- All rows of a table of the audit, each writer's in their order.
SELECT writer, seq, at, event, tenant_id, user_id, line
FROM {table}
ORDER BY writer, seq
