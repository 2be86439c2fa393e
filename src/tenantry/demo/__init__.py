"""``tenantry demo``: the whole thing on one machine, without an account anywhere.

stack.py         PostgreSQL, the development identity provider and a sample MCP server, started and stopped
notes_server.py  the sample server: three tools on the official MCP SDK
cast.py          who calls and who is refused, each with what must come out
tour.py          everybody's turn, over real HTTP
show.py          what came out, for people and for programs
"""
