"""The way of an event: queued by whoever observes, written in batches by tasks of our own.

    observe (0.3 us, on the request's path) -> queue -> pump: events -> a lane for each sink -> written, or again

A sink that fails keeps its lane waiting and no other. What does not fit any more is dropped and counted; with
``on_error`` "closed" the middleware refuses requests before it comes to that (``check``).
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import time
from typing import Any, Protocol

from ...errors import Refusal, Unavailable
from ...observations import EventsDropped, InternalError, Misconfigured, Observation, Refused
from .events import Event, Scribe, Told
from .pseudonyms import Keys, Naming

QUEUED = 10_000  # observations, and events for one sink: some 10 MB each
_BATCH = 5000  # more than a tick brings on one core: a batch costs a thread and three writes to the disk
_STRIDE = 100  # events made without a pause: half a millisecond of the event loop
_EVERY_SECONDS = 0.5  # the thread that writes and the one that serves disturb each other, so: not often
_PAUSES = (0.0, 0.2, 0.5, 1.0, 2.0)  # before the tries that follow a failure; the last one again and again
_CLOSE_SECONDS = 5.0
_RETRY_AFTER = 2.0


class Sink(Protocol):
    """Where rows go. ``write`` is all or nothing: after an error the same list comes again."""

    name: str

    async def write(self, events: Sequence[Event]) -> None: ...
    async def aclose(self) -> None: ...


def new_writer() -> str:
    """The name of a process as a writer."""
    return secrets.token_hex(8)


class Audit:
    """Give ``observe`` to everybody who observes, ask ``check`` before a request is let in, and run it from ``start``
    to ``aclose``. ``dropped`` counts events that some sink will never have."""

    def __init__(
        self,
        sinks: Sequence[Sink],
        observe: Callable[[Observation], None],
        *,
        writer: str,
        naming: Naming,
        keys: Keys | None,
        on_error: str,
    ) -> None:
        self.dropped = 0
        self._tell = observe
        self._closed = on_error == "closed"
        self._queue: deque[tuple[float, Any]] = deque()
        self._scribe = Scribe(writer, naming, keys, self._wrong)
        self._lanes = [Lane(sink, self._stands, self._lost) for sink in sinks]
        self._keys_fail = False
        self._refusing = False
        self._unsaid: dict[str, int] = {}  # drops that nobody has been told of yet
        self._unwritten: dict[str, int] = {}  # and those that are not in the trail yet
        self._tasks: list[asyncio.Task[None]] = []
        self._taking = asyncio.Lock()

    # --- On the path of a request -----------------------------------------------------------------------------------

    def observe(self, observation: Observation) -> None:
        """An ``Observer``."""
        if len(self._queue) < QUEUED:
            self._queue.append((time(), observation))
        else:
            self._overflow(observation)

    def check(self) -> None:
        """Raise ``Unavailable`` where a request must not be let in, because what it does could not be written down."""
        if self._refusing:
            raise Unavailable("audit_unavailable", retry_after=_RETRY_AFTER)

    def _overflow(self, observation: Observation) -> None:
        """Requests that are in already still end: while new ones are refused, there is room for them."""
        if isinstance(observation, EventsDropped) or (
            isinstance(observation, Refused) and observation.reason == "audit_unavailable"
        ):
            return  # our own doing, and no news
        self._refusing = self._closed
        if self._closed and len(self._queue) < 2 * QUEUED:
            self._queue.append((time(), observation))
        else:
            self._lost("queue", 1)

    # --- Beside it --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to write. Needs a running event loop."""
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._pump()),
                *(asyncio.create_task(lane.run()) for lane in self._lanes),
            ]

    async def aclose(self) -> None:
        """Write what is there, for some seconds at most, and close the sinks."""
        if self._tasks:
            self._tasks[0].cancel()  # the pump; its work is done here to the end
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self.flush()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for lane in self._lanes:
            if lost := len(self._queue) + len(lane.waiting):
                self._lost(lane.sink.name, lost)
            await lane.sink.aclose()
        self._queue.clear()
        self._tasks = []
        self._say_losses()

    async def flush(self) -> None:
        """Until everything observed so far is written to every sink, however long that takes."""
        while self._queue:
            try:
                await self._take()
            except Exception:  # as in the pump, while there is time
                await asyncio.sleep(_EVERY_SECONDS)
        for lane in self._lanes:
            await lane.below(1)

    async def _pump(self) -> None:
        failures = 0
        while True:
            if not self._queue:
                await asyncio.sleep(_EVERY_SECONDS)
            self._say_losses()
            if self._closed:
                for lane in self._lanes:
                    await lane.below(QUEUED)
            try:
                await self._take()
                failures = 0
            except Exception as error:  # the keys' store: whatever it is, the batch is kept
                failures += 1
                self._fails("keys", failures, error)
                await asyncio.sleep(_PAUSES[min(failures, len(_PAUSES) - 1)])
            if self._keys_fail and not failures:
                self._keys_fail = False
            self._stands()

    async def _take(self) -> None:
        """A batch out of the queue, as events for each lane; it leaves the queue when that is done."""
        async with self._taking:
            try:
                await self._take_all()
            finally:
                for lane in self._lanes:
                    lane.wake.set()

    async def _take_all(self) -> None:
        while self._queue:
            batch = [self._queue[place] for place in range(min(_STRIDE, len(self._queue)))]
            own = self._own()
            events = await self._scribe.describe([*((batch[0][0], told) for told in own), *batch])
            for told in own:
                del self._unwritten[told.subject]
            for _ in batch:
                self._queue.popleft()
            for lane in self._lanes:
                lane.add(events, self._closed)
            if self._closed and self._full():
                return
            await asyncio.sleep(0)

    def _own(self) -> list[Told]:
        """What was lost, to be written where there is room again."""
        full = {lane.sink.name for lane in self._lanes if len(lane.waiting) >= QUEUED}
        return [Told("events.dropped", what, str(count)) for what, count in self._unwritten.items() if what not in full]

    def _full(self) -> bool:
        return any(len(lane.waiting) >= QUEUED for lane in self._lanes)

    # --- How it stands ----------------------------------------------------------------------------------------------

    def _stands(self, told: Told | None = None) -> None:
        if told is not None:
            self._queue.append((time(), told))
            if told.event == "outage.began":
                self._tell(Misconfigured("audit", f"{told.subject} cannot be written: {told.detail}"))
        failing = self._keys_fail or any(lane.failing for lane in self._lanes)
        self._refusing = self._closed and (failing or len(self._queue) >= QUEUED)

    def _fails(self, what: str, failures: int, error: Exception) -> None:
        if failures == 2:
            self._keys_fail = True
            self._tell(Misconfigured("audit", f"the users' {what} cannot be had: {described(error)}"))

    def _wrong(self, error: Exception) -> None:
        self._lost("event", 1)
        self._tell(InternalError.of(error))

    def _lost(self, sink: str, count: int) -> None:
        self.dropped += count
        self._unsaid[sink] = self._unsaid.get(sink, 0) + count
        self._unwritten[sink] = self._unwritten.get(sink, 0) + count

    def _say_losses(self) -> None:
        unsaid, self._unsaid = self._unsaid, {}
        for sink, count in unsaid.items():
            self._tell(EventsDropped(sink, count))


class Lane:
    """One sink's events. ``failing``: two tries in a row went wrong, so it is no passing matter."""

    def __init__(self, sink: Sink, stands: Callable[[Told | None], None], lost: Callable[[str, int], None]) -> None:
        self.sink, self.failing = sink, False
        self.waiting: deque[Event] = deque()
        self._stands, self._lost = stands, lost
        self.wake = asyncio.Event()
        self._less = asyncio.Event()

    def add(self, events: Sequence[Event], keep: bool) -> None:
        """Take events; those for which there is no room are lost, unless they must be kept."""
        room = len(events) if keep else max(0, QUEUED - len(self.waiting))
        self.waiting.extend(events[:room])
        if room < len(events):
            self._lost(self.sink.name, len(events) - room)
        if len(self.waiting) >= _BATCH:  # for fewer it is worth while to wait until the queue is empty
            self.wake.set()

    async def run(self) -> None:
        while True:
            await self.wake.wait()
            self.wake.clear()
            while self.waiting:
                batch = [self.waiting[place] for place in range(min(_BATCH, len(self.waiting)))]
                await self._written(batch)
                for _ in batch:
                    self.waiting.popleft()
                self._less.set()

    async def below(self, count: int) -> None:
        """Wait until fewer than so many wait here."""
        while len(self.waiting) >= count:
            self._less.clear()
            await self._less.wait()

    async def _written(self, batch: list[Event]) -> None:
        failures = 0
        while True:
            try:
                await self.sink.write(batch)
            except Exception as error:  # a sink may be anything, and what it failed on is tried again
                failures += 1
                if failures == 2:
                    self._turn(True, described(error))
                await asyncio.sleep(_PAUSES[min(failures - 1, len(_PAUSES) - 1)])
            else:
                if self.failing:
                    self._turn(False, "")
                return

    def _turn(self, failing: bool, detail: str) -> None:
        self.failing = failing
        self._stands(Told("outage.began" if failing else "outage.ended", f"audit {self.sink.name}", detail))


def described(error: BaseException) -> str:
    """Its kind and, where the system says it, why; no message, which may quote a connection string."""
    if isinstance(error, Refusal):
        return error.detail or error.reason
    reason = getattr(error, "strerror", None) if isinstance(error, OSError) else None
    return f"{type(error).__name__} ({reason})" if reason else type(error).__name__
