-- The owner of the tenants' schemas may make schemas here ...
GRANT CREATE ON DATABASE {database} TO {owner};
-- ... and its functions and types are nobody's by default: a tenant's role is granted what it may use.
SET LOCAL ROLE {owner};
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE USAGE ON TYPES FROM PUBLIC;
RESET ROLE
