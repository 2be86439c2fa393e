-- Let a login of the operator in, as far as the database itself is concerned.
-- The login may connect, although not everybody may.
GRANT CONNECT ON DATABASE {database} TO {login}
