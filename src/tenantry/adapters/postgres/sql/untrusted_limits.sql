-- What only a superuser may set for a role, or whoever was given that (untrusted_parameters.sql); the role itself
-- cannot change it. Without the first, a sort or a set may fill the disk until its time is over; without the second,
-- an error that quotes a value of 1 GB is written to the server's log.
ALTER ROLE {role} SET temp_file_limit = '256MB';
ALTER ROLE {role} SET log_min_messages = 'fatal'
