-- Run once by the postgres image, as its superuser, on an empty volume: the two logins of docs/tenancy.md.
-- psql reads the passwords from the files that the container mounts; they stand in no image and in no environment.
\set admin_password `cat /run/secrets/postgres_admin_password`
\set app_password `cat /run/secrets/postgres_app_password`
CREATE ROLE tenantry_admin LOGIN CREATEROLE PASSWORD :'admin_password';
CREATE ROLE tenantry_app LOGIN NOINHERIT PASSWORD :'app_password';
SELECT format('ALTER DATABASE %I OWNER TO tenantry_admin', current_database()) \gexec
