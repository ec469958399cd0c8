"""A chat room with "who is online", served by any number of worker processes.

    .venv/bin/pip install -q -e '.[examples]'
    .venv/bin/uvicorn --workers 4 examples.chat.app:app

Then open http://127.0.0.1:8000 in a few tabs. Each worker is a node; they find each other by
themselves, so that it does not matter which of them a browser is connected to. No broker, no
configuration: the room is a channel, whoever is online is its member.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from crdtpubsub import Client, Exit, Member, Node, Snapshot

ROOM = "lobby"
PAGE = Path(__file__).with_name("page.html")
NAME_MAX = 32
TEXT_MAX = 2000


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """The worker's node lives as long as the worker."""
    async with Node(name=f"worker {os.getpid()}", cluster="chat") as node:
        app.state.node = node
        yield


async def page(_: Request) -> FileResponse:
    return FileResponse(PAGE)


async def online(request: Request) -> JSONResponse:
    """Who is online, as this worker knows: a look into its memory."""
    node: Node = request.app.state.node
    return JSONResponse({"worker": os.getpid(), "online": people(node.members(ROOM))})


async def chat(socket: WebSocket) -> None:
    """One browser: a client in the room for as long as the socket is open."""
    node: Node = socket.app.state.node
    name = words(socket.query_params.get("name"), NAME_MAX) or "somebody"
    await socket.accept()
    client = node.client()
    try:
        await client.join(ROOM, meta={"name": name, "worker": os.getpid(), "away": False})
        await say(socket, {"you": client.id, "worker": os.getpid()})
        tasks = [
            asyncio.create_task(show_people(socket, node)),
            asyncio.create_task(show_messages(socket, client)),
            asyncio.create_task(hear(socket, client, name)),
        ]
        try:  # the first that ends takes the others with it
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    except WebSocketDisconnect:
        pass
    finally:
        await client.close()


async def show_people(socket: WebSocket, node: Node) -> None:
    """Who is there, and then who comes, goes, or looks away."""
    async for item in node.watch(ROOM):
        if isinstance(item, Snapshot):
            await say(socket, {"online": people(item.members)})
        else:
            changed = {
                "joined": people(item.joined),
                "left": people(item.left),
                "updated": people(item.updated),
            }
            await say(socket, {"changed": changed, "cause": item.cause})


async def show_messages(socket: WebSocket, client: Client) -> None:
    """What anybody says, on any worker; in between, an exit."""
    async for item in client:
        if isinstance(item, Exit):
            return
        await say(socket, {"message": item.data})


async def hear(socket: WebSocket, client: Client, name: str) -> None:
    """What this browser says: to all of the room, or about itself."""
    while True:
        try:
            said = await socket.receive_json()
        except (json.JSONDecodeError, KeyError):  # no JSON, or bytes
            continue
        if not isinstance(said, dict):
            continue
        if text := words(said.get("text"), TEXT_MAX):
            await client.node.publish(ROOM, {"id": client.id, "name": name, "text": text})
        elif isinstance(away := said.get("away"), bool):
            meta = {"name": name, "worker": os.getpid(), "away": away}
            await client.update(ROOM, meta=meta)


async def say(socket: WebSocket, what: dict[str, object]) -> None:
    await socket.send_json(what)


def people(members: Iterable[Member]) -> list[dict[str, object]]:
    """What the page shows of each: all that it said of itself when it joined."""
    known = [(member, member.meta) for member in members]
    return [{**meta, "id": member.id} for member, meta in known if isinstance(meta, dict)]


def words(text: object, limit: int) -> str:
    """Text of a stranger, cut to size; '' if it is none."""
    return text.strip()[:limit] if isinstance(text, str) else ""


app = Starlette(
    routes=[Route("/", page), Route("/online", online), WebSocketRoute("/chat", chat)],
    lifespan=lifespan,
)
