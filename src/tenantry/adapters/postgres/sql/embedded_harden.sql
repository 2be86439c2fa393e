-- In the embedded server's database, as the superuser, after what anybody's superuser does (harden_superuser.sql): the
-- provisioning login keeps what pg_dump needs, and may set for a tenant's role what is a superuser's to set.
GRANT EXECUTE ON FUNCTION pg_catalog.set_config(text, text, boolean) TO {admin};
GRANT SET ON PARAMETER temp_file_limit TO {admin};
GRANT SET ON PARAMETER log_min_messages TO {admin}
