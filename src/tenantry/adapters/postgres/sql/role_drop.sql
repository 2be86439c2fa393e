-- A role that owns nothing any more, and has no right anywhere.
DROP ROLE {role}
