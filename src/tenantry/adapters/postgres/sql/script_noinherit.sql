-- Before PostgreSQL 16 a login decides for all of its roles whether it has their rights all the time.
ALTER ROLE {login} NOINHERIT
