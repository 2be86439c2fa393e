-- A tenant's schema and what little is left in it.
DROP SCHEMA {schema} CASCADE
