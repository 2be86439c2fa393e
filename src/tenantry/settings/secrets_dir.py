"""Settings out of files: ``MCP_HTTP_SECRETS_DIR`` names a directory in which each file is called like a variable and
holds its value. That is how Docker, Kubernetes and systemd hand secrets to a process; unlike an environment, files are
not inherited by children, not shown by ``inspect``, and can change while the process runs.

No message quotes what a file holds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from ..errors import ConfigurationError
from .variables import PREFIX

VARIABLE = PREFIX + "SECRETS_DIR"
# They say where settings are read from, which nothing that is read there can say.
_NOT_HERE = frozenset({VARIABLE, PREFIX + "CONFIG_FILE"})


def secret_files(directory: Path, known: Collection[str]) -> Iterator[tuple[str, Path]]:
    """(variable, file) of every file that is ours: called like one of ``known`` or with our prefix, in capitals or in
    small letters. Kubernetes' own ``..data`` and whatever else is hidden, other programs' files and directories are
    passed over. Raises ``ConfigurationError`` for a directory that is not there or may not be read."""
    try:
        paths = sorted(directory.iterdir())
    except OSError as error:
        raise ConfigurationError(
            f"{VARIABLE} names {str(directory)!r}, which is not a directory that can be read ({error.strerror})."
        ) from None
    for path in paths:
        name = path.name.upper()
        if path.name in (name, name.lower()) and (name in known or name.startswith(PREFIX)) and path.is_file():
            yield name, path


def read_secrets(directory: Path, known: Collection[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Values by variable; one line end behind a value is the editor's and not part of it.

    Raises ``ConfigurationError`` for a file that is empty, unreadable or not text, for a variable that has two files
    or stands in ``environ`` as well, and for the two that say where settings are read from.
    """
    elsewhere = {name.upper() for name in environ}
    values: dict[str, str] = {}
    for name, path in secret_files(directory, known):
        if name in _NOT_HERE:
            raise _refuse(name, "belongs into the environment: it says where settings are read from")
        if name in values:
            raise _refuse(name, "has two files, in capitals and in small letters: remove one")
        if name in elsewhere:
            raise _refuse(name, "is in the environment as well: remove one, so that it is plain which one counts")
        values[name] = _text(name, path)
    return values


def _text(name: str, path: Path) -> str:
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise _refuse(name, f"cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise _refuse(name, "is not UTF-8 text") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text.strip():
        raise _refuse(name, "is empty: give it a value or remove the file")
    return text


def _refuse(name: str, problem: str) -> ConfigurationError:
    return ConfigurationError(f"{name} in {VARIABLE} {problem}.")
