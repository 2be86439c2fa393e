-- The schema says what is being done to it.
COMMENT ON SCHEMA {schema} IS {mark}
