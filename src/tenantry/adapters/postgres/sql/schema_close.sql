-- A tenant's role finds nothing in its schema any more, in whatever it still has open.
REVOKE USAGE ON SCHEMA {schema} FROM {role}
