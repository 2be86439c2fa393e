from tests.hosts.conftest import mcp1_python

__all__ = ["mcp1_python"]
