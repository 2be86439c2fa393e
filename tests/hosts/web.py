"""Endpoints of FastAPI and Starlette that need permissions. Annotations are strings here, as in many apps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, FastAPI
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tenantry import MCPUserContext, current_user, require_permission
from tenantry.errors import Forbidden
from tenantry.tools import whoami

WRITE = ("notes:write", "notes:share")


class Note(BaseModel):
    text: str


def caller(request: Request) -> MCPUserContext:
    return current_user(request)


def fastapi_app() -> FastAPI:
    app = FastAPI()

    @app.post("/later/{number}")
    @require_permission(*WRITE)
    async def later(number: int, note: Note, user: Annotated[MCPUserContext, Depends(caller)]) -> str:
        return f"{number} {note.text} {user.user_id}"

    @app.get("/at_once")
    @require_permission(*WRITE)
    def at_once(text: str = "text") -> str:
        return text

    @app.get("/with_request")
    @require_permission(*WRITE)
    async def with_request(request: Request) -> str:
        return "text"

    @app.get("/depends", dependencies=[Depends(require_permission(*WRITE))])
    async def depends() -> str:
        return "text"

    @app.get("/direct")
    def direct(request: Request) -> str:
        require_permission(request, *WRITE)
        return "text"

    @app.get("/stream")
    @require_permission(*WRITE)
    async def stream() -> AsyncIterator[Note]:
        yield Note(text="text")

    @app.get("/foreign")
    async def foreign() -> str:
        raise Forbidden("tenant_unknown")

    @app.get("/seen")
    async def seen(user: Annotated[MCPUserContext, Depends(caller)]) -> str:
        return f"{user.user_id} {current_user().user_id}"

    @app.get("/seen_at_once")
    def seen_at_once(request: Request) -> str:
        return f"{current_user(request).user_id} {current_user().user_id}"

    app.get("/whoami")(whoami)
    return app


class Endpoint(HTTPEndpoint):
    @require_permission(*WRITE)
    async def get(self, request: Request) -> Response:
        return PlainTextResponse("text")

    @require_permission(*WRITE)
    def post(self, request: Request) -> Response:
        return PlainTextResponse("text")


@require_permission(*WRITE)
async def later(request: Request) -> Response:
    return PlainTextResponse("text")


@require_permission(*WRITE)
def at_once(request: Request) -> Response:
    return PlainTextResponse("text")


async def seen(request: Request) -> Response:
    return PlainTextResponse(f"{current_user(request).user_id} {current_user().user_id}")


def seen_at_once(request: Request) -> Response:
    return PlainTextResponse(f"{current_user(request).user_id} {current_user().user_id}")


def starlette_app() -> Starlette:
    named = [Route(f"/{one.__name__}", one) for one in (later, at_once, seen, seen_at_once)]
    return Starlette(routes=[*named, Route("/endpoint", Endpoint)])
