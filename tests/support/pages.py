"""Built pages, served as the server serves its own: for stages, which show real views over a pretended engine.

folder = await built_stage("desk", tmp_path / "desk")
async with pages_served(folder) as url: ...
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette

from deploy.devtool.web import WEB, environment, install_modules, node_folder
from leeside_server.relay.web import WebSettings, web_routes
from tests.support.services import HOST, free_port
from tests.support.town import until


async def built_stage(name: str, folder: Path) -> Path:
    """Build `clients/web/stage/NAME` into this folder. Raises `RuntimeError` with what Vite said."""
    await asyncio.to_thread(install_modules)
    process = await asyncio.create_subprocess_exec(
        "node",
        "e2e/stage.mjs",
        name,
        str(folder),
        cwd=WEB,
        env={**os.environ, **environment(node_folder())},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"the stage {name} does not build:\n{out.decode()}")
    return folder


@asynccontextmanager
async def pages_served(folder: Path) -> AsyncGenerator[str]:
    """The files of this folder on a port of their own, under the client's content policy; yields the address."""
    app = Starlette(routes=web_routes(WebSettings(dist=folder)))
    async with asgi_served(app, free_port()) as url:
        yield url


@asynccontextmanager
async def asgi_served(app: Any, port: int) -> AsyncGenerator[str]:
    """An ASGI application in this process and loop; yields its address."""
    config = uvicorn.Config(
        app, host=HOST, port=port, log_level="error", lifespan="off", ws="websockets-sansio",
        timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = uvicorn.Server(config)
    # `serve` would take the signals of the whole process.
    serving = asyncio.ensure_future(server._serve())  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    try:
        await until(lambda: server.started or serving.done(), "it listens")
        yield f"http://{HOST}:{port}"
    finally:
        server.should_exit = True
        await serving
