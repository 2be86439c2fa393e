-- A tenant's role may use its schema again.
GRANT USAGE ON SCHEMA {schema} TO {role}
