"""The audit that the settings describe: the only place that puts its parts together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ...errors import ConfigurationError
from ...observations import Observation
from .chain import Seal
from .pseudonyms import DerivedKeys, Keys, Naming
from .writer import Audit, Sink, new_writer

if TYPE_CHECKING:
    from ...settings import Settings
    from ..postgres.database import Database

# What an Audit is made from: while these stay, one goes on through a reload.
AUDIT_SETTINGS = {"audit_sinks", "audit_on_error", "audit_email", "audit_users", "audit_hmac_key"}
_SHORTEST_KEY = 32
_SINKS = "MCP_HTTP_AUDIT_SINKS"
_KEY = "MCP_HTTP_AUDIT_HMAC_KEY"


class Places(NamedTuple):
    """Where events go."""

    stdout: bool
    file: Path | None
    postgres: bool


def places(settings: Settings) -> Places | None:
    """What MCP_HTTP_AUDIT_SINKS says; None where it is not set. Raises ``ConfigurationError``."""
    if settings.audit_sinks is None:
        return None
    stdout, postgres, files = False, False, []
    for sink in settings.audit_sinks:
        kind, _, path = sink.partition(":")
        if kind == "file" and path:
            files.append(Path(path).absolute())
        elif sink == "stdout" and not stdout:
            stdout = True
        elif sink == "postgres" and not postgres:
            postgres = True
        else:
            raise ConfigurationError(f"{_SINKS} holds {sink!r}: name stdout, file:PATH and postgres, each once.")
    if len(files) > 1:
        raise ConfigurationError(f"{_SINKS} names {len(files)} files: name one.")
    if postgres and settings.database_connection_string is None:
        raise ConfigurationError(f"{_SINKS} names postgres: set MCP_HTTP_DATABASE_CONNECTION_STRING, or leave it out.")
    for file in files:
        _check_file(file)
    return Places(stdout, files[0] if files else None, postgres)


def _check_file(file: Path) -> None:
    if not file.parent.is_dir():
        raise ConfigurationError(f"{_SINKS} names {str(file)!r}, whose folder is not there: make the folder.")
    if file.exists() and not file.is_file():
        raise ConfigurationError(f"{_SINKS} names {str(file)!r}, which is not a regular file: name another.")


def secret(settings: Settings) -> bytes | None:
    """The operator's key. Raises ``ConfigurationError`` for one that could be guessed."""
    if settings.audit_hmac_key is None:
        return None
    text = settings.audit_hmac_key.get_secret_value()
    if len(text) < _SHORTEST_KEY:
        raise ConfigurationError(
            f"{_KEY} is shorter than {_SHORTEST_KEY} characters: take the output of `openssl rand -base64 32`."
        )
    return text.encode()


def make_audit(settings: Settings, database: Database | None, observe: Callable[[Observation], None]) -> Audit | None:
    """The audit, or None where MCP_HTTP_AUDIT_SINKS is not set. ``observe`` hears of drops and failures.

    Raises ``ConfigurationError``.
    """
    where = places(settings)
    key = secret(settings)
    if where is None:
        return None
    writer, seal = new_writer(), Seal(key)
    naming = Naming(settings.audit_users, settings.audit_email)
    return Audit(
        _sinks(where, database, writer, seal),
        observe,
        writer=writer,
        naming=naming,
        keys=_keys(where, database, key) if naming.needs_keys else None,
        on_error=settings.audit_on_error,
    )


def _sinks(where: Places, database: Database | None, writer: str, seal: Seal) -> list[Sink]:
    sinks: list[Sink] = []
    if where.stdout:
        from .stdout import StdoutSink

        sinks.append(StdoutSink(writer, seal))
    if where.file is not None:
        from .files import FileSink

        sinks.append(FileSink(where.file, writer, seal))
    if where.postgres and database is not None:
        from ..postgres.audit_sink import PostgresSink

        sinks.append(PostgresSink(database, writer, seal))
    return sinks


def _keys(where: Places, database: Database | None, key: bytes | None) -> Keys:
    if where.postgres and database is not None:
        from ..postgres.audit_keys import DatabaseKeys

        return DatabaseKeys(database)
    if where.file is not None:
        from .file_keys import FileKeys

        return FileKeys(where.file)
    if key is None:
        raise ConfigurationError(
            f"{_KEY} is missing: on standard output alone people get their pseudonyms from it. Set it, or "
            "MCP_HTTP_AUDIT_USERS=plain and MCP_HTTP_AUDIT_EMAIL=off (or plain)."
        )
    return DerivedKeys(key)
