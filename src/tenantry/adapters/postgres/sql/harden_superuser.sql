-- What only a superuser may take: a SELECT that changes a setting in the middle of itself.
REVOKE EXECUTE ON FUNCTION pg_catalog.set_config(text, text, boolean) FROM PUBLIC
