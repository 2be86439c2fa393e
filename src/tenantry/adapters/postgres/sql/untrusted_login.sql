-- Let a tenant's role log in itself, for SQL that a tenant or a model wrote. It inherits from the group nothing but
-- the right to connect. The settings count for its own logins alone, not where a request's login becomes it.
ALTER ROLE {role} LOGIN INHERIT CONNECTION LIMIT {connections} PASSWORD {verifier};
GRANT {group} TO {role};
ALTER ROLE {role} SET search_path = {schema}, pg_temp;
ALTER ROLE {role} SET default_transaction_read_only = on;
ALTER ROLE {role} SET statement_timeout = '60s';
ALTER ROLE {role} SET idle_in_transaction_session_timeout = '60s'
