"""What `pip install` brings: the server with the built web client in it, on a machine without Node.js."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import httpx
import pytest

from deploy.devtool.packages import uv
from deploy.devtool.place import ROOT
from tests.faults.node import Node

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(600)]


def run(*command: str | Path, **more: str) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        env={**os.environ, **more},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    run(uv(), "build", "-q", "--wheel", "--python", sys.executable, "-o", folder, ".")
    (made,) = folder.glob("*.whl")
    return made


def test_the_wheel_carries_the_built_client_and_no_source_of_it(wheel: Path, built: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        carried = {name for name in names if "/web_dist/" in name}
        assert carried == {
            f"leeside_server/web_dist/{path.relative_to(built)}"
            for path in built.rglob("*")
            if path.is_file()
        }
        for name in carried:
            assert archive.read(name) == (built.parent.parent / name).read_bytes()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {
        "leeside",
        "leeside_protocol",
        "leeside_server",
    }


async def test_a_server_of_the_wheel_serves_the_page_without_node(
    wheel: Path, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv = tmp_path / "venv"
    run(uv(), "venv", "-q", "--python", sys.executable, venv)
    run(uv(), "pip", "install", "-q", "--offline", "--no-deps", "--python", venv / "bin/python", wheel)
    # What it depends on is lent by this environment; .pth files, and with them the checkout, are not read from there.
    monkeypatch.setenv("PYTHONPATH", sysconfig.get_path("purelib"))
    monkeypatch.setenv("PATH", str(venv / "bin"))
    where = run(venv / "bin/python", "-c", "import leeside_server; print(leeside_server.__file__)")
    assert Path(where.strip()).is_relative_to(venv)
    node = Node(tmp_path / "node", tmp_path / "data", program=(str(venv / "bin/leeside-server"),))
    await node.start()
    try:
        async with httpx.AsyncClient(base_url=node.url) as client:
            page = await client.get("/")
            assert page.status_code == 200
            assert page.headers["content-type"].startswith("text/html")
            assert page.content == (built / "index.html").read_bytes()
    finally:
        await node.kill()
