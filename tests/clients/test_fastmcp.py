"""FastMCP's client with ``auth="oauth"``, up to the door of the browser, and against both hosts."""

from __future__ import annotations

import webbrowser
from collections.abc import Iterator
from threading import Event, Thread
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import pytest
from tests.clients.servers import HOSTS, a_site

pytest.importorskip("fastmcp")
from fastmcp import Client
from fastmcp.client.auth import OAuth

pytestmark = [
    pytest.mark.anyio,
    # FastMCP says that a store in memory forgets, which a test wants.
    pytest.mark.filterwarnings("ignore:Using in-memory token storage"),
]


class Person(webbrowser.BaseBrowser):
    """A browser whose user signs in at once: the identity provider was told who it is."""

    def __init__(self) -> None:
        super().__init__("person")
        self.pages: list[str] = []
        self._thread: Thread | None = None
        self._closed = Event()

    def open(self, url: str, new: int = 0, autoraise: bool = True) -> bool:
        self._thread = Thread(target=self._follow, args=(url,))
        self._thread.start()
        return True

    def _follow(self, url: str) -> None:
        """As far as the client's own page, which may not be served yet: a browser takes longer to start than it."""
        opener = build_opener(ProxyHandler({}))
        while not self._closed.wait(0.02):
            try:
                with opener.open(url, timeout=10) as page:
                    self.pages.append(page.read().decode())
                    return
            except URLError as refused:
                if not isinstance(refused.reason, ConnectionError):
                    raise

    def close(self) -> None:
        """Wait for the page that is being opened."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Iterator[Person]:
    """The browser of this machine for the length of a test."""
    browser = Person()
    monkeypatch.setattr(webbrowser, "_browsers", {})
    monkeypatch.setattr(webbrowser, "_tryorder", [])
    webbrowser.register("person", None, browser, preferred=True)
    yield browser
    browser.close()


@pytest.mark.parametrize("host", HOSTS)
async def test_the_client_signs_in_by_itself_and_calls_a_tool(person: Person, host: str) -> None:
    async with a_site(host) as site:
        site.idp.auth0.authorization.sign_in = "erin"
        async with Client(site.url, auth="oauth") as client:
            answer = await client.call_tool("whoami")
            more = await client.call_tool("write_note", {"text": "hello"})
        assert answer.structured_content["user"] == site.user_id("erin")
        assert more.content[0].text == f"{site.user_id('erin')} wrote hello"


async def test_a_client_that_was_registered_by_hand_signs_in_with_what_it_was_given(person: Person) -> None:
    async with a_site() as site:
        auth0 = site.idp.auth0
        auth0.authorization.sign_in = "erin"
        auth0.authorization.clients.registration = False
        given = OAuth(client_id=auth0.client_id, client_secret=auth0.client_secret)
        async with Client(site.url, auth=given) as client:
            answer = await client.call_tool("whoami")
        assert answer.structured_content == {
            "user": site.user_id("erin"),
            "tenant": answer.structured_content["tenant"],
            "client": auth0.client_id,
        }
