"""The log of ``tenantry serve``: its two forms, and that no record of any logger carries a credential into it."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tenantry.adapters.observers import LogObserver, logger
from tenantry.errors import TokenInvalid
from tenantry.logs import configure
from tenantry.model import MCPUserContext
from tenantry.observations import About, Called, InternalError, Refused
from tenantry.settings import Settings

KEY = "Zk3v9QpLx7Rt2Wm8Nc5Hd1Jf6Gs4Ba0Y"
SECRETS = ["Bearer ab1.cd2.ef3", "ya29.a0AfH6SMBx", "eyJhbGciOi.e30.c2ln", KEY,
           "ghp_16C7e42F292c6912E7710c838347Ae178B4a", "postgresql://app:hunter2@db/app"]  # fmt: skip
LEFT = ["ab1.cd2.ef3", "a0AfH6SMBx", "eyJhbGciOi", KEY[:16], "16C7e42F292c6912", "hunter2"]
LOGGERS = ["tenantry", "tenantry.postgres.pool", "uvicorn.error", "httpx", "httpcore.http11", "asyncio", "an.app"]
USER = MCPUserContext("google:1", "google", "1", "acme_com")
ABOUT = About("4f2a-1", "203.0.113.9", "0af7651916cd43dd8448eb211c80319c", "tools/call", "notes_add")


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root, raises = logging.getLogger(), logging.raiseExceptions
    handlers, level = root.handlers[:], root.level
    uvicorn = logging.getLogger("uvicorn")
    propagates, uvicorn.propagate = uvicorn.propagate, True  # a server that another test ran with its own logging
    yield
    uvicorn.propagate = propagates
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.raiseExceptions = raises


@pytest.fixture(params=["console", "json"])
def log(request: pytest.FixtureRequest) -> Callable[[], str]:
    stream = io.StringIO()
    configure(Settings(api_key=KEY, log_format=request.param, log_level="debug"), stream)
    return stream.getvalue


def raising(text: str) -> None:
    raise RuntimeError(text) from ValueError(text)


def in_json(level: str = "debug") -> io.StringIO:
    stream = io.StringIO()
    configure(Settings(api_key=KEY, log_format="json", log_level=level), stream)
    return stream


@pytest.mark.parametrize("name", LOGGERS)
@pytest.mark.parametrize("number", range(len(SECRETS)))
def test_a_credential_in_a_record_of_any_logger_is_taken_out(log: Callable[[], str], name: str, number: int) -> None:
    secret, piece = SECRETS[number], LEFT[number]
    speaker = logging.getLogger(name)
    speaker.info("in the text: " + secret)
    speaker.warning("in the arguments: %s %r", secret, [(b"authorization", secret.encode())])
    speaker.error("in a mapping: %(it)s", {"it": secret})
    speaker.debug("in a field", extra={"tenant": secret, "reason": secret, "user": secret, "request_id": secret})
    speaker.info("arguments that do not fit %d", secret)
    try:
        raising(f"in an exception: {secret}")
    except RuntimeError:
        speaker.exception("in a traceback", stack_info=True)
    text = log()
    assert piece not in text
    assert text.count("in a") >= 6
    assert "[redacted]" in text


def test_another_formatter_s_traceback_is_not_taken_over(log: Callable[[], str]) -> None:
    """``logging`` keeps the formatted traceback in the record, for the next handler to write as it is."""
    record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "failed", (), None)
    record.exc_text = f"RuntimeError: {KEY}"
    logging.getLogger().handle(record)
    assert "failed" in log()
    assert KEY not in log()


def test_a_record_that_cannot_be_written_is_not_printed_raw(capfd: pytest.CaptureFixture[str]) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError("the disk is full")

    configure(Settings(api_key=KEY), Broken())
    logging.getLogger("x").error("secret %s", KEY)
    assert capfd.readouterr() == ("", "")


INJECTED = "x\r\n2026-11-20T00:00:00.000Z INFO tenantry: admitted root\x1b[2K\u2028 {"


def test_nothing_in_a_record_can_pass_for_another_record(log: Callable[[], str]) -> None:
    logging.getLogger("an.app").info("said %s", INJECTED)
    try:
        raising(INJECTED)
    except RuntimeError:
        logging.getLogger("an.app").exception("failed")
    logging.getLogger("an.app").info("a field", extra={"request_id": INJECTED, "mcp_name": INJECTED})
    text = log()
    assert "\x1b" not in text
    assert "\r" not in text
    assert not any(line.startswith("2026-11-20T00:00:00.000Z") for line in text.splitlines())
    records = [line for line in text.split("\n") if line and not line.startswith("  | ")]
    assert len(records) == 3


def test_the_console_has_one_line_a_record_and_its_request() -> None:
    stream = io.StringIO()
    configure(Settings(api_key=KEY), stream)
    logging.getLogger("tenantry").info("refused %s", 401, extra={"request_id": "4f2a-1"})
    logging.getLogger("a.library").debug("not this one")
    (line,) = stream.getvalue().splitlines()
    moment, words = line.split(" ", 1)
    assert words == "INFO tenantry: refused 401 [4f2a-1]"
    assert len(moment) == len("2026-11-20T10:00:00.123Z")
    assert moment.endswith("Z")


def test_json_has_an_object_a_line_with_the_fields_of_an_observation() -> None:
    stream = in_json()
    log = LogObserver()
    log(Refused.of(TokenInvalid("token_rejected"), ABOUT, USER))
    log(Called(USER, ABOUT, 200, 0.0123456789))
    log(InternalError("KeyError", "x.py:1"))
    refused, called, internal = (json.loads(line) for line in stream.getvalue().splitlines())
    about = {"request_id": "4f2a-1", "trace_id": ABOUT.trace_id, "address": "203.0.113.9", "tenant": "acme_com",
             "provider": "google", "user": "google:1", "mcp_method": "tools/call", "mcp_name": "notes_add"}  # fmt: skip
    assert refused.pop("time").endswith("Z")
    assert refused == about | {
        "level": "info",
        "logger": "tenantry",
        "message": "refused 401 token_rejected: Its provider refuses it.",
        "reason": "token_rejected",
        "status": 401,
    }
    assert (called["level"], called["seconds"], called["status"]) == ("debug", 0.012346, 200)
    assert called["message"] == "tools/call notes_add by google:1 of acme_com: 200 after 12.3 ms"
    assert internal["message"] == "internal error KeyError at x.py:1; the request was refused"


def test_a_caller_s_own_words_are_short_one_line_and_no_secret() -> None:
    stream = in_json()
    LogObserver()(Called(None, ABOUT._replace(method="a\nb", name=KEY), 200, 0.0))
    LogObserver()(Called(None, ABOUT._replace(name="n" * 20 + "!" * 5000), 200, 0.0))
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (first["mcp_method"], first["mcp_name"]) == ("a\\nb", "[redacted]")
    assert "nobody in particular" in first["message"]
    assert len(second["mcp_name"]) == 128


def test_requests_that_are_let_in_are_told_at_debug_alone() -> None:
    in_json("info")
    logger.setLevel(logging.NOTSET)
    assert not LogObserver().calls
    in_json("debug")
    assert LogObserver().calls


def test_configuring_again_replaces_what_was_configured() -> None:
    first, second = in_json(), in_json()
    logging.getLogger("x").info("once")
    assert first.getvalue() == ""
    assert second.getvalue().count("once") == 1


_TASK = f"""
import asyncio, logging
from tenantry.logs import configure
from tenantry.settings import Settings
configure(Settings(api_key={KEY!r}))
async def fails():
    raise RuntimeError("a token: {KEY}")
async def main():
    asyncio.ensure_future(fails())
    await asyncio.sleep(0.01)
asyncio.run(main())
"""


def test_an_exception_that_nobody_fetched_is_written_without_its_secret() -> None:
    done = subprocess.run([sys.executable, "-c", _TASK], capture_output=True, text=True, check=True, timeout=60)
    assert "Task exception was never retrieved" in done.stderr
    assert "a token: [redacted]" in done.stderr
    assert KEY[:16] not in done.stderr
