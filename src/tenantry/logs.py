"""The log of ``tenantry serve``: one line a record, for people or as JSON, and no credential in any.

Redaction is the formatter's, on the one handler of the root logger. A filter would not do: a logger's filters do not
see what its children log, and no filter sees the text of an exception. So whatever logs in this process (tenantry,
uvicorn, the HTTP client, the app) is written through here, as long as it does not bring a handler of its own.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

from .adapters.observers import FIELDS
from .core.redaction import one_line, redact

if TYPE_CHECKING:
    from .settings import Settings

_TRACE = re.compile(r"[0-9a-f]{32}")
_IDS = frozenset({"request_id", "trace_id"})


def configure(settings: Settings, stream: TextIO | None = None) -> None:
    """Log to ``stream`` (standard error) as ``settings.log_format`` and ``settings.log_level`` say, instead of whatever
    was configured before."""
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonLines() if settings.log_format == "json" else Console())
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    # An error while a record is written would print the record as it came, arguments included.
    logging.raiseExceptions = False


class Console(logging.Formatter):
    """``time LEVEL logger: message [request]``; the lines of an exception are set off, so that none can pass for a
    record of its own."""

    def format(self, record: logging.LogRecord) -> str:
        request_id = getattr(record, "request_id", None)
        mark = "" if request_id is None else f" [{_safe_id(str(request_id))}]"
        line = f"{_time(record)} {record.levelname} {record.name}: {_message(record)}{mark}"
        return "\n  | ".join([line, *map(_safe, _exception(record).splitlines())])


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, those of ``FIELDS`` that the record has, and exception."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        line |= {name: _value(name, record.__dict__[name]) for name in FIELDS if name in record.__dict__}
        exception = _exception(record)
        if exception:
            line["exception"] = redact(exception)
        return json.dumps(line)


def _message(record: logging.LogRecord) -> str:
    try:
        return _safe(record.getMessage())
    except Exception:  # whoever logs with arguments that do not fit: the text alone is still worth something
        return _safe(str(record.msg))


def _safe(text: str) -> str:
    return redact(one_line(text))


def _safe_id(text: str) -> str:
    """A trace id has the form of a secret, and is none."""
    return text if _TRACE.fullmatch(text) else _safe(text)


def _value(name: str, value: Any) -> Any:
    if value is None or type(value) in (bool, int, float):
        return value
    return _safe_id(str(value)) if name in _IDS else _safe(str(value))


def _exception(record: logging.LogRecord) -> str:
    """Traceback and stack; never the text that another formatter has left in the record."""
    parts = []
    if record.exc_info and record.exc_info[0] is not None:
        parts.append(logging.Formatter.formatException(_PLAIN, record.exc_info))
    if record.stack_info:
        parts.append(record.stack_info)
    return "\n".join(parts)


_PLAIN = logging.Formatter()


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
