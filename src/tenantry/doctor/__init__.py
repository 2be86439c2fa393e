"""What ``tenantry doctor`` finds: of a running server from outside, any protected MCP server, and of the settings here.

``findings.py`` first: what a finding is, and the grade. ``catalog.py`` names everything that is looked at. A check is a
function that yields findings; ``outside/`` and ``inside/`` list theirs in order, ``examine.py`` runs them.
"""
