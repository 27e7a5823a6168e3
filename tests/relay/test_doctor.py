"""What doctor measures and how it judges it."""

import datetime as dt
import sqlite3
from pathlib import Path

import msgspec
import pytest
import trustme

from leeside_server import doctor, machine, web_files
from leeside_server.adapters.sqlite import SqliteStore
from leeside_server.config import BusSection, Config, ServerSection, StoreSection, WebSection
from leeside_server.doctor import examine
from leeside_server.findings import Finding, Report, Verdict
from tests.ports.test_bus import ask
from tests.support.services import free_port

WELL, WARNING, BAD = Verdict.WELL, Verdict.WARNING, Verdict.BAD


def config_in(folder: Path, **sections: msgspec.Struct) -> Config:
    return msgspec.structs.replace(Config(server=ServerSection(data_dir=folder / "data")), **sections)


def secret(folder: Path, text: str) -> Path:
    path = folder / "address"
    path.write_text(text)
    path.chmod(0o600)
    return path


def named(report: Report) -> dict[str, Finding]:
    return {finding.check: finding for finding in report.findings}


class TestDisk:
    @pytest.mark.parametrize(
        ("taken_us", "verdict"),
        [
            ([3.0] * 50, WARNING),
            ([49.9] * 50, WARNING),
            ([50.0] * 50, WELL),
            ([900.0] * 50, WELL),
            ([30_000.0], WARNING),
        ],
    )
    def test_a_sync_that_is_too_fast_or_too_slow(self, taken_us: list[float], verdict: Verdict) -> None:
        finding = machine.disk_sync(taken_us)
        assert finding.verdict is verdict
        assert bool(finding.fix) == (verdict is not WELL)

    def test_one_outlier_decides_nothing(self) -> None:
        assert machine.disk_sync([800.0] * 49 + [1.0]).verdict is WELL
        assert machine.disk_sync([10.0] * 49 + [90_000.0]).figure == 10.0

    def test_it_really_measures_and_leaves_nothing(self, tmp_path: Path) -> None:
        taken_us = machine.measure_sync_us(tmp_path, 3)
        assert len(taken_us) == 3
        assert min(taken_us) > 0
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("kind", "verdict"), [("ext4", WELL), ("", WELL), ("tmpfs", BAD), ("nfs4", BAD), ("9p", BAD)]
    )
    def test_what_the_folder_lies_on(self, kind: str, verdict: Verdict) -> None:
        assert machine.file_system(kind).verdict is verdict

    def test_the_nearest_mount_counts(self, tmp_path: Path) -> None:
        (tmp_path / "a b/c").mkdir(parents=True)
        mounts = tmp_path / "mounts"
        mounts.write_text(f"x / ext4 rw 0 0\ny {tmp_path}/a\\040b tmpfs rw 0 0\nbad\n")
        assert machine.kind_of_file_system(tmp_path / "a b/c", mounts) == "tmpfs"
        assert machine.kind_of_file_system(tmp_path, mounts) == "ext4"
        assert machine.kind_of_file_system(tmp_path, tmp_path / "none") == ""

    def test_room(self) -> None:
        assert machine.free_disk(machine.FREE_LEAST_BYTES - 1).verdict is BAD
        assert machine.free_disk(machine.FREE_LEAST_BYTES).verdict is WELL

    def test_the_nearest_folder_that_is_there(self, tmp_path: Path) -> None:
        assert machine.existing(tmp_path / "a/b/c") == tmp_path


class TestMachine:
    def test_open_files(self) -> None:
        assert machine.open_files(1_024, 20_000).verdict is WARNING
        assert "LimitNOFILE=20256" in machine.open_files(1_024, 20_000).fix
        assert machine.open_files(20_256, 20_000).verdict is WELL
        assert machine.open_files(-1, 20_000).verdict is WELL  # RLIM_INFINITY

    def test_a_clock_of_the_past(self) -> None:
        assert machine.wall_clock(0.0).verdict is BAD
        assert machine.wall_clock(machine.BUILT_S + 1.0).verdict is not BAD

    def test_clocks_apart(self) -> None:
        assert doctor.skew("Redis", 0.4).verdict is WELL
        assert doctor.skew("Redis", -1.5).verdict is WARNING
        assert doctor.skew("PostgreSQL", 60.0).check == "clock_postgresql"

    def test_tls(self, tmp_path: Path) -> None:
        assert machine.tls(Config(), 0.0).verdict is WELL
        behind = Config(server=ServerSection(host="0.0.0.0", trusted_proxies=("10.0.0.5",)))
        assert "10.0.0.5" in machine.tls(behind, 0.0).says
        end = dt.datetime(2027, 6, 1, tzinfo=dt.UTC)
        certificate = trustme.CA().issue_cert("127.0.0.1", not_after=end)
        cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
        cert.write_bytes(certificate.cert_chain_pems[0].bytes())
        key.write_bytes(certificate.private_key_pem.bytes())
        config = Config(server=ServerSection(tls_cert=cert, tls_key=key))
        for days_before, verdict in ((30, WELL), (5, WARNING), (-1, BAD)):
            assert machine.tls(config, end.timestamp() - days_before * 86_400).verdict is verdict
        key.write_text("no key")
        assert machine.tls(config, 0.0).verdict is BAD

    def test_secrets_that_others_may_read(self, tmp_path: Path) -> None:
        data = tmp_path / "data"
        data.mkdir(mode=0o700)
        assert machine.secrets_kept(config_in(tmp_path)).verdict is WELL
        data.chmod(0o755)
        assert machine.secrets_kept(config_in(tmp_path)).fix == f"chmod o-rwx {data}"


class TestSqlite:
    def test_before_the_first_start(self, tmp_path: Path) -> None:
        assert doctor.sqlite_file(tmp_path / "none.db").verdict is WELL

    async def test_beside_a_running_server(self, tmp_path: Path) -> None:
        store = await SqliteStore.open(tmp_path / "leeside.db")
        try:
            assert doctor.sqlite_file(tmp_path / "leeside.db").verdict is WELL
        finally:
            await store.close()

    def test_another_programs_database(self, tmp_path: Path) -> None:
        connection = sqlite3.connect(tmp_path / "other.db")
        connection.execute("CREATE TABLE meta (x)")
        connection.close()
        assert doctor.sqlite_file(tmp_path / "other.db").verdict is BAD

    def test_what_is_no_database(self, tmp_path: Path) -> None:
        (tmp_path / "x.db").write_bytes(b"canary" * 1_000)
        finding = doctor.sqlite_file(tmp_path / "x.db")
        assert finding.verdict is BAD
        assert "canary" not in finding.says


def test_a_way_that_others_can_read_is_told() -> None:
    assert doctor.way("Redis", private=False).verdict is WARNING


class TestWeb:
    """The web client as it was built, or was not."""

    def build(self, folder: Path) -> Path:
        (folder / "assets").mkdir(parents=True)
        (folder / "map").mkdir()
        (folder / "assets/main-1.js").write_text("")
        (folder / "map/town.pmtiles").write_bytes(b"PMTiles\x03 and the rest")
        (folder / "index.html").write_text('<title>Leeside</title><script src="/assets/main-1.js"></script>')
        return folder

    def verdicts(self, folder: Path, dist: Path, **sections: msgspec.Struct) -> dict[str, Verdict]:
        found = web_files.examine_web(config_in(folder, **sections), dist)
        assert all(bool(one.fix) == (one.verdict is not WELL) for one in found)
        return {one.check: one.verdict for one in found}

    def test_a_whole_one(self, tmp_path: Path) -> None:
        server = ServerSection(public_origins=("https://relay.example",))
        found = self.verdicts(tmp_path, self.build(tmp_path / "dist"), server=server)
        assert found == {"web": WELL, "web_origins": WELL, "map": WELL}

    def test_one_that_is_not_here_is_no_fault_of_the_relay(self, tmp_path: Path) -> None:
        assert self.verdicts(tmp_path, tmp_path / "dist") == {"web": WARNING}

    def test_one_of_somebody_else(self, tmp_path: Path) -> None:
        dist = self.build(tmp_path / "dist")
        (dist / "index.html").write_text("<title>Welcome to nginx!</title>")
        assert self.verdicts(tmp_path, dist) == {"web": BAD}

    def test_one_of_two_builds_mixed(self, tmp_path: Path) -> None:
        dist = self.build(tmp_path / "dist")
        (dist / "assets/main-1.js").unlink()
        assert self.verdicts(tmp_path, dist) == {"web": BAD}

    def test_a_page_that_may_open_no_socket(self, tmp_path: Path) -> None:
        assert self.verdicts(tmp_path, self.build(tmp_path / "dist"))["web_origins"] is WARNING

    @pytest.mark.parametrize("body", [None, b"", b"PNG"])
    def test_a_map_that_is_none(self, tmp_path: Path, body: bytes | None) -> None:
        path = tmp_path / "area.pmtiles"
        if body is not None:
            path.write_bytes(body)
        web = WebSection(map_file=path)
        assert self.verdicts(tmp_path, self.build(tmp_path / "dist"), web=web)["map"] is WARNING


class TestReport:
    async def test_the_embedded_defaults(self, tmp_path: Path) -> None:
        findings = named(await examine(config_in(tmp_path)))
        # What is said of a page and a map depends on whether a client was built here.
        assert [check for check in findings if check not in {"web_origins", "map"}] == [
            "disk_sync",
            "file_system",
            "free_disk",
            "open_files",
            "clock",
            "tls",
            "secrets",
            "store",
            "web",
        ]
        assert findings["store"].verdict is WELL

    async def test_a_redis_that_answers(self, tmp_path: Path, redis_url: str) -> None:
        bus = BusSection(kind="redis", url_file=secret(tmp_path, redis_url))
        findings = named(await examine(config_in(tmp_path, bus=bus)))
        assert findings["bus"].verdict is WELL
        assert findings["clock_redis"].verdict is WELL
        assert findings["tls_redis"].verdict is WELL

    @pytest.mark.parametrize(
        "rules",
        [("+@all", "resetchannels", "&ours:*"), ("+@all", "-publish", "allchannels"), ("-@all", "+auth")],
        ids=["another prefix", "no hints", "nothing"],
    )
    async def test_a_redis_that_refuses(self, tmp_path: Path, redis_url: str, rules: tuple[str, ...]) -> None:
        commands = ("ACL", "SETUSER", "doctor", "reset", "on", ">canary", "~*", *rules)
        assert await ask(redis_url, commands) == [b"OK"]
        try:
            url = redis_url.replace("redis://", "redis://doctor:canary@")
            bus = BusSection(kind="redis", url_file=secret(tmp_path, url), prefix="theirs:")
            report = await examine(config_in(tmp_path, bus=bus))
        finally:
            await ask(redis_url, ("ACL", "DELUSER", "doctor"))
        assert named(report)["bus"].verdict is BAD
        assert "refuses" in named(report)["bus"].says
        assert b"canary" not in msgspec.json.encode(report)

    async def test_a_redis_that_is_not_there(self, tmp_path: Path) -> None:
        bus = BusSection(
            kind="redis", url_file=secret(tmp_path, f"redis://:canary@127.0.0.1:{free_port()}/0")
        )
        report = await examine(config_in(tmp_path, bus=bus))
        assert named(report)["bus"].verdict is BAD
        assert report.bad
        assert b"canary" not in msgspec.json.encode(report)

    async def test_a_postgres_that_answers(self, tmp_path: Path, postgres_dsn: str) -> None:
        store = StoreSection(kind="postgres", dsn_file=secret(tmp_path, postgres_dsn))
        findings = named(await examine(config_in(tmp_path, store=store)))
        assert findings["store"].verdict is WELL
        assert findings["clock_postgresql"].verdict is WELL
        assert findings["tls_postgresql"].verdict is WELL

    async def test_a_postgres_that_is_not_there(self, tmp_path: Path) -> None:
        address = f"postgresql://leeside:canary@127.0.0.1:{free_port()}/leeside"
        store = StoreSection(kind="postgres", dsn_file=secret(tmp_path, address))
        report = await examine(config_in(tmp_path, store=store))
        assert named(report)["store"].verdict is BAD
        assert b"canary" not in msgspec.json.encode(report)

    async def test_secrets_that_are_not_there(self, tmp_path: Path) -> None:
        config = config_in(
            tmp_path,
            store=StoreSection(kind="postgres", dsn_file=tmp_path / "none"),
            bus=BusSection(kind="redis", url_file=tmp_path / "none"),
        )
        findings = named(await examine(config))
        assert findings["store"].verdict is BAD
        assert findings["bus"].verdict is BAD
