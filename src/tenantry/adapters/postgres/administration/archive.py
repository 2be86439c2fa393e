"""The file that one tenant is exported to: a ZIP of COPY's own text, a member for each table, and a manifest.

It needs no program to be read: ``manifest.json`` says which member is which table, with its columns, the number of
its rows and their checksum (``transfer.Digest``), where the sequences stand, and which migrations make the tables.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ....errors import ConfigurationError
from .transfer import Contents, Digest, Table

FORMAT = "tenantry tenant 1"
_MANIFEST = "manifest.json"
_READ_BYTES = 256 * 1024
_DAMAGED = (zipfile.BadZipFile, zlib.error, KeyError, EOFError, NotImplementedError)


@dataclass(frozen=True, slots=True)
class Manifest:
    """``migrations``: name and checksum of each that the tenant has, in their order; ``members`` by table."""

    tenant_id: str
    source: str | None
    migrations: tuple[tuple[str, str], ...]
    contents: Contents
    members: Mapping[str, str]
    proofs: Mapping[str, tuple[int, str]]

    @property
    def version(self) -> int:
        return len(self.migrations)

    def text(self, **more: Any) -> str:
        """As JSON; ``more`` is for people."""
        tables = [
            {
                "name": table.name,
                "columns": list(table.columns),
                "member": self.members[table.name],
                "rows": self.proofs[table.name][0],
                "checksum": self.proofs[table.name][1],
            }
            for table in self.contents.tables
        ]
        return json.dumps(
            {
                "format": FORMAT,
                "tenant_id": self.tenant_id,
                "source": self.source,
                **more,
                "migrations": [{"name": name, "checksum": checksum} for name, checksum in self.migrations],
                "tables": tables,
                "sequences": {name: list(position) for name, position in self.contents.sequences.items()},
                "shape": list(self.contents.shape),
            },
            indent=1,
        )


def parsed(text: bytes) -> Manifest:
    """Raises ``KeyError``, ``TypeError`` or ``ValueError`` for what is no manifest of ours."""
    read = json.loads(text)
    if read["format"] != FORMAT:
        raise ValueError("another format")
    tables = read["tables"]
    return Manifest(
        tenant_id=str(read["tenant_id"]),
        source=read["source"],
        migrations=tuple((each["name"], each["checksum"]) for each in read["migrations"]),
        contents=Contents(
            shape=tuple(read["shape"]),
            tables=tuple(Table(each["name"], "", tuple(each["columns"])) for each in tables),
            sequences={name: (int(last), bool(called)) for name, (last, called) in read["sequences"].items()},
        ),
        members={each["name"]: each["member"] for each in tables},
        proofs={each["name"]: (int(each["rows"]), each["checksum"]) for each in tables},
    )


# --- Writing ----------------------------------------------------------------------------------------------------------


class Writer:
    """``with``: a new file that its owner alone may read, or a given stream; a file that was not finished is removed.

    Raises ``ConfigurationError`` for a file that exists or cannot be made.
    """

    def __init__(self, target: Path | IO[bytes]) -> None:
        self._path = target if isinstance(target, Path) else None
        self._file: IO[bytes] = _new(target) if isinstance(target, Path) else target
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_DEFLATED, compresslevel=1)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._discard()
            return
        try:
            self._zip.close()
            self._file.flush()
            if self._path is not None:
                os.fsync(self._file.fileno())  # what it was copied from may be dropped next
                self._file.close()
        except OSError as error:
            self._discard()
            raise _not_written(error) from None

    @contextmanager
    def member(self, name: str) -> Iterator[Callable[[bytes], None]]:
        """What is given the member's bytes; one member at a time."""
        with self._zip.open(name, "w", force_zip64=True) as member:

            def take(data: bytes) -> None:
                try:
                    member.write(data)
                except OSError as error:
                    raise _not_written(error) from None

            yield take

    def finish(self, manifest: str) -> None:
        self._zip.writestr(_MANIFEST, manifest)

    def _discard(self) -> None:
        with suppress(OSError, ValueError):  # the disk may be full
            self._zip.close()
        if self._path is not None:
            with suppress(OSError):
                self._file.close()
            self._path.unlink(missing_ok=True)


def _not_written(error: OSError) -> ConfigurationError:
    return ConfigurationError(f"The export cannot be written ({error.strerror}): name a file on another disk.")


def _new(path: Path) -> IO[bytes]:
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except FileExistsError:
        raise ConfigurationError(f"{str(path)!r} exists and is not overwritten: name another file.") from None
    except OSError as error:
        raise ConfigurationError(f"{str(path)!r} cannot be written ({error.strerror}): name another file.") from None


# --- Reading ----------------------------------------------------------------------------------------------------------


class Reader:
    """``with``: a file that ``Writer`` wrote. Raises ``ConfigurationError`` for any other."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._zip = zipfile.ZipFile(path)
            self.manifest = parsed(self._zip.read(_MANIFEST))
        except OSError as error:
            raise ConfigurationError(
                f"{str(path)!r} cannot be read ({error.strerror or type(error).__name__})."
            ) from None
        except (*_DAMAGED, TypeError, ValueError):
            raise ConfigurationError(
                f"{str(path)!r} is not a whole export of a tenant by this version of tenantry."
            ) from None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def rows(self, table: Table, digest: Digest) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """``transfer.Rows`` of the file. Raises ``ConfigurationError`` for rows that are not those of the manifest."""
        return self._rows(table, digest)

    @asynccontextmanager
    async def _rows(self, table: Table, digest: Digest) -> AsyncIterator[AsyncIterator[bytes]]:
        yield self._chunks(table, digest)

    async def _chunks(self, table: Table, digest: Digest) -> AsyncIterator[bytes]:
        with suppress(*_DAMAGED), self._zip.open(self.manifest.members[table.name]) as member:
            while data := member.read(_READ_BYTES):
                digest.add(data)
                yield data
        if digest.proof != self.manifest.proofs[table.name]:
            raise ConfigurationError(f"{str(self._path)!r} is damaged: table {table.name!r} is not what it was.")

    async def verify(self) -> None:
        """Read everything. Raises ``ConfigurationError``."""
        for table in self.manifest.contents.tables:
            async for _ in self._chunks(table, Digest()):
                pass
