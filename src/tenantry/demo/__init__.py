"""``tenantry demo``: the whole thing on one machine, without an account anywhere.

stack.py         PostgreSQL, the development identity provider and a sample MCP server, started and stopped
notes_server.py  the sample server: four tools on the official MCP SDK
policy.toml      who may call which of them
cast.py          who calls and who is refused, each with what must come out
trust.py         with --all-providers: the settings of a server that trusts every provider there is
providers.py     ... and with --all-providers one of every provider
tour.py          everybody's turn, over real HTTP:
  visits.py      the callers, with the official MCP client
  requests.py    those who are refused, as bare requests
  trail.py       the audit of it all
rows.py          what came out, and whether it is right
show.py          ... for people (tables.py: text)
programs.py      ... for programs, and what to paste into them
"""
