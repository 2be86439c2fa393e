-- The logins and the database of the embedded server. Runs once, as the superuser, in database "postgres".
-- Failing statements are not logged here: two of them hold a password.
SET log_min_error_statement = panic;
-- Repeatable: an interrupted first start left the logins without the database, with the same passwords.
DROP ROLE IF EXISTS {admin};
DROP ROLE IF EXISTS {app};
CREATE ROLE {admin} LOGIN CREATEROLE PASSWORD {admin_password};
CREATE ROLE {app} LOGIN NOINHERIT PASSWORD {app_password};
REVOKE CONNECT ON DATABASE postgres FROM PUBLIC;
REVOKE CONNECT ON DATABASE template1 FROM PUBLIC;
CREATE DATABASE {database} OWNER {admin}
