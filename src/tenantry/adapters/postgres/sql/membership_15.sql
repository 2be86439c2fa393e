-- Let the login become the role, before PostgreSQL 16: the login itself is NOINHERIT.
GRANT {role} TO {login}
