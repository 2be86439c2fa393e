"""What an operator does: migrations, the life of a tenant, API keys. Nothing here is on the path of a request."""
