"""The tenant database: a schema and a role for each tenant, one transaction for each piece of work.

Start with ``pool.py`` (``Database``: how a block of work enters a tenant and leaves it), then ``tenants.py``
(how a tenant comes to be). ``embedded.py`` runs a PostgreSQL server of our own for development and tests.
"""
