-- A role of ours, marked as this deployment's. Roles belong to the whole cluster, so the mark tells ours from
-- those of another database.
CREATE ROLE {role} NOLOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
COMMENT ON ROLE {role} IS {mark}
