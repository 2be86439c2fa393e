-- Take from everybody what PostgreSQL gives everybody. A temporary table of one tenant would be found before the
-- real one of the next tenant on the same connection; schema public would be shared ground; and only our own logins
-- have a reason to connect.
REVOKE ALL ON SCHEMA public FROM PUBLIC;
REVOKE TEMP ON DATABASE {database} FROM PUBLIC;
REVOKE CONNECT ON DATABASE {database} FROM PUBLIC
