"""A server is lost and comes back from yesterday's copy: the loss is announced, and clients post again what is missing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from leeside.events import Reset
from leeside_protocol.words import Discipline, Role
from tests.support.shell import Shell
from tests.support.stage import Stage
from tests.support.town import WAIT_S, Person, Town, open_town, settled, texts, until

pytestmark = pytest.mark.slow


async def lose_everything_since(stage: Stage, shell: Shell, copy: Path) -> tuple[int, int]:
    """Stop the servers, restore the copy over what they had, start them again; the generation before and after."""
    await stage.kill()
    if stage.postgres is None:
        data = stage.node(0).data
        shutil.rmtree(data)
        done = await shell.leeside("--json", "restore", str(copy), "--data-dir", str(data))
    else:
        stage.postgres.drop_database(stage.dsn)
        name = stage.dsn.rpartition("/")[2]
        stage.postgres.run_sql(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'")
        done = await shell.leeside("--json", "restore", str(copy), "--postgres", without_password(stage.dsn))
    await stage.start()
    return done.value["before"], done.value["generation"]


def without_password(dsn: str) -> str:
    parts = urlsplit(dsn)
    return urlunsplit(parts._replace(netloc=f"{parts.username}@{parts.hostname}:{parts.port}"))


def shell_for(stage: Stage, folder: Path) -> Shell:
    """An operator's shell; PostgreSQL's password comes from the environment."""
    if stage.postgres is None:
        return Shell.at(folder)
    path = f"{stage.postgres.programs}{os.pathsep}{os.environ.get('PATH', '')}"
    return Shell.at(folder, PGPASSWORD=stage.postgres.password, PATH=path)


async def test_g3_a_restored_backup_raises_the_generation_and_clients_post_again(
    own_stage: Stage, tmp_path: Path
) -> None:
    stage, shell = own_stage, shell_for(own_stage, tmp_path / "operator")
    copy = tmp_path / "copy"
    async with open_town(stage.url(0), stage.node(0).codes, tmp_path / "people") as town:
        ana = await town.enrol("ana", Role.RESPONDER, Discipline.CLINICIAN)
        deniz = await town.enrol("deniz", Role.DISPATCHER)
        await tell(stage, shell, copy, town, ana, deniz)


async def tell(stage: Stage, shell: Shell, copy: Path, town: Town, ana: Person, deniz: Person) -> None:
    async with ana.open(stage.url(0)) as phone, deniz.open(stage.url(1)) as desk:
        channel = await town.unit_channel(desk, phone)
        await (await phone.send(channel, "before the copy")).wait(timeout_s=WAIT_S)
        await until(lambda: texts(desk, channel) == ["before the copy"], "it arrived")
        what = (
            ("--data-dir", str(stage.node(0).data))
            if stage.postgres is None
            else ("--postgres", without_password(stage.dsn))
        )
        await shell.leeside("--json", "backup", str(copy), *what)
        await desk.openings.rekey(channel)
        for client, text in ((phone, "lost by the server"), (desk, "lost as well")):
            await (await client.send(channel, text)).wait(timeout_s=WAIT_S)
        await until(lambda: len(texts(phone, channel)) == len(texts(desk, channel)) == 3, "all arrived")
        feed = phone.follow(channel)
        before, after = await lose_everything_since(stage, shell, copy)
        assert after > before
        phone.reconnect()
        desk.reconnect()
        while not isinstance(event := await feed.next(), Reset):
            pass
        assert event.channel == channel
        for client in (phone, desk):
            await until(lambda c=client: len(texts(c, channel)) == 3, "all three stand again")  # type: ignore[misc]
        assert texts(phone, channel)[0] == "before the copy"
        assert sorted(texts(phone, channel)) == sorted(
            ["before the copy", "lost by the server", "lost as well"]
        )
        assert texts(phone, channel) == texts(desk, channel)
        # Whoever was not there sees the same.
        sofia = await town.enrol("sofia", Role.SUPERVISOR)
        await desk.openings.admit(channel, [sofia.device])
        await desk.openings.grant(channel, sofia.device)
        async with sofia.open(stage.url(1)) as late:
            await settled(late, channel)
            await until(lambda: texts(late, channel) == texts(phone, channel), "the log is one")
