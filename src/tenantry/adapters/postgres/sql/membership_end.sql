-- The login can become the role no more.
REVOKE {role} FROM {login}
