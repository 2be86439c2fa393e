-- A login of ours for requests: it may connect, and become the tenants of its bucket.
ALTER ROLE {role} LOGIN NOINHERIT PASSWORD {verifier};
GRANT CONNECT ON DATABASE {database} TO {role}
