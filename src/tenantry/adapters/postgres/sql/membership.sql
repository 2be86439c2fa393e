-- Let the login become the role, on PostgreSQL 16 and later: become it, without having its rights all the time.
GRANT {role} TO {login} WITH INHERIT FALSE, SET TRUE
