"""The files that a configuration names: secrets, certificates, the data folder."""

import base64
import importlib.util
import ssl
from pathlib import Path

import msgspec
import pytest
import trustme

from leeside_server import places
from leeside_server.config import BusSection, Config, PagingSection, ServerSection, StoreSection, TurnSection
from leeside_server.errors import ConfigInvalid, StartRefused


def certified(folder: Path) -> Config:
    """A configuration with a certificate and its key."""
    certificate = trustme.CA().issue_cert("127.0.0.1")
    cert, key = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    key.write_bytes(certificate.private_key_pem.bytes())
    key.chmod(0o600)
    return Config(server=ServerSection(tls_cert=cert, tls_key=key, data_dir=folder / "data"))


def nothing(_name: str) -> None:
    """No package is found."""


def with_secret(folder: Path, content: bytes) -> Path:
    path = folder / "secret"
    path.write_bytes(content)
    path.chmod(0o600)
    return path


class TestSecrets:
    def test_the_line_without_its_end(self, tmp_path: Path) -> None:
        assert places.read_secret("x", with_secret(tmp_path, b"  word of mouth\r\n")) == "word of mouth"

    @pytest.mark.parametrize(
        "content",
        [b"", b" \n", b"canary\ncanary", b"canary\x00", b"canary\xff\xfe", b"canary" * 1_000],
    )
    def test_what_is_no_secret_is_refused_and_not_shown(self, tmp_path: Path, content: bytes) -> None:
        if content.endswith(b"\xff\xfe"):
            content += b"\x07"
        with pytest.raises(ConfigInvalid) as refused:
            places.read_secret("[store] dsn_file", with_secret(tmp_path, content))
        assert "[store] dsn_file" in str(refused.value)
        assert "canary" not in str(refused.value)

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigInvalid, match="which is not there"):
            places.read_secret("x", tmp_path / "none")
        with pytest.raises(ConfigInvalid, match="cannot be read"):
            places.read_secret("x", tmp_path)

    @pytest.mark.parametrize("url", ["postgresql://u:canary@h/d", "postgres://h/d"])
    def test_postgres_addresses(self, tmp_path: Path, url: str) -> None:
        path = with_secret(tmp_path, url.encode())
        assert places.read_dsn(Config(store=StoreSection(kind="postgres", dsn_file=path))) == url

    @pytest.mark.parametrize("url", ["redis://h", "rediss://u:canary@h:6380/0", "unix:///run/redis.sock"])
    def test_redis_addresses(self, tmp_path: Path, url: str) -> None:
        path = with_secret(tmp_path, url.encode())
        assert places.read_redis_url(Config(bus=BusSection(kind="redis", url_file=path))) == url

    def test_a_webhook_secret(self, tmp_path: Path) -> None:
        path = with_secret(tmp_path, b"whsec_" + base64.b64encode(bytes(32)) + b"\n")
        assert places.read_webhook_secret(Config(paging=PagingSection(webhook_secret_file=path))) == bytes(32)
        assert places.read_webhook_secret(Config()) == b""

    @pytest.mark.parametrize("content", [b"canary", b"whsec_canary", b"whsec_Y2FuYXJ5"])
    def test_what_is_no_webhook_secret_is_refused_and_not_shown(self, tmp_path: Path, content: bytes) -> None:
        path = with_secret(tmp_path, content)
        (problem,) = places.problems(Config(paging=PagingSection(webhook_secret_file=path)))
        assert "webhook_secret_file" in problem.wrong
        assert "canary" not in f"{problem.wrong}{problem.fix}"

    def test_a_turn_secret(self, tmp_path: Path) -> None:
        path = with_secret(tmp_path, b"0123456789abcdef0123456789abcdef\n")
        assert places.read_turn_secret(Config(turn=TurnSection(secret_file=path))) == "0123456789abcdef" * 2
        assert places.read_turn_secret(Config()) == ""

    @pytest.mark.parametrize("content", [b"canary", b"<the-secret>", b"canary" * 20, b"x" * 64])
    def test_a_turn_secret_that_can_be_guessed_is_refused_and_not_shown(
        self, tmp_path: Path, content: bytes
    ) -> None:
        path = with_secret(tmp_path, content)
        (problem,) = places.problems(Config(turn=TurnSection(secret_file=path)))
        assert "can be guessed" in problem.wrong
        assert content.decode() not in f"{problem.wrong}{problem.fix}"

    def test_a_bridge_without_its_packages_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        video = Config(server=ServerSection(roles=("relay", "video")))
        assert list(places.problems(video)) == []
        monkeypatch.setattr(importlib.util, "find_spec", nothing)
        (problem,) = places.problems(video)
        assert "not installed" in problem.wrong
        assert list(places.problems(Config())) == []

    @pytest.mark.parametrize(
        "option", ["ssl_cert_reqs=none", "ssl_check_hostname=False", "ssl_cert_reqs=required"]
    )
    def test_certificates_of_redis_are_always_checked(self, tmp_path: Path, option: str) -> None:
        path = with_secret(tmp_path, f"rediss://:canary@h:6380/0?{option}".encode())
        (problem,) = places.problems(Config(bus=BusSection(kind="redis", url_file=path)))
        assert "ssl_ca_certs" in problem.fix
        assert "canary" not in str(problem)

    @pytest.mark.parametrize(
        ("url", "open_"),
        [
            ("redis://127.0.0.1", False),
            ("redis://[::1]:6379", False),
            ("redis://localhost", False),
            ("unix:///run/redis.sock", False),
            ("rediss://redis.example.org", False),
            ("redis://redis.example.org", True),
            ("redis://10.0.0.5", True),
        ],
    )
    def test_which_redis_is_reached_in_the_open(self, url: str, open_: bool) -> None:
        assert places.crosses_in_the_open(url) is open_

    @pytest.mark.parametrize("url", ["canary", "mysql://canary", "redis://canary:x", "http://[canary"])
    def test_other_addresses_are_refused_and_not_shown(self, tmp_path: Path, url: str) -> None:
        path = with_secret(tmp_path, url.encode())
        for config in (
            Config(store=StoreSection(kind="postgres", dsn_file=path)),
            Config(bus=BusSection(kind="redis", url_file=path)),
        ):
            (problem,) = places.problems(config)
            assert "does not hold an address" in problem.wrong
            assert "canary" not in str(problem)


class TestTls:
    def test_none_without_it(self) -> None:
        assert places.tls_context(Config()) is None

    def test_a_pair_makes_a_context(self, tmp_path: Path) -> None:
        context = places.tls_context(certified(tmp_path))
        assert context is not None
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2

    def test_what_is_no_pair(self, tmp_path: Path) -> None:
        config = certified(tmp_path)
        assert config.server.tls_key is not None
        config.server.tls_key.write_bytes(trustme.CA().issue_cert("other").private_key_pem.bytes())
        with pytest.raises(ConfigInvalid, match="do not make a pair"):
            places.tls_context(config)
        config.server.tls_key.write_bytes(b"canary")
        (problem,) = places.problems(config)
        assert "canary" not in str(problem)

    def test_a_key_with_a_passphrase_asks_nobody(self, tmp_path: Path) -> None:
        from cryptography.hazmat.primitives.serialization import (
            BestAvailableEncryption,
            Encoding,
            PrivateFormat,
            load_pem_private_key,
        )

        config = certified(tmp_path)
        assert config.server.tls_key is not None
        key = load_pem_private_key(config.server.tls_key.read_bytes(), None)
        config.server.tls_key.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word"))
        )
        with pytest.raises(ConfigInvalid, match="without a passphrase"):
            places.tls_context(config)

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        config = certified(tmp_path)
        assert config.server.tls_cert is not None
        config.server.tls_cert.unlink()
        with pytest.raises(ConfigInvalid, match="tls_cert names"):
            places.tls_context(config)


class TestFolders:
    def test_the_data_folder_is_made_for_this_user_alone(self, tmp_path: Path) -> None:
        config = Config(server=ServerSection(data_dir=tmp_path / "a/b"))
        assert places.make_data_dir(config) == tmp_path / "a/b"
        assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o700
        places.make_data_dir(config)

    def test_a_folder_that_cannot_be(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(StartRefused, match="cannot be made"):
            places.make_data_dir(Config(server=ServerSection(data_dir=tmp_path / "file/data")))

    def test_what_others_may_read_is_named(self, tmp_path: Path) -> None:
        config = certified(tmp_path)
        assert config.server.tls_key is not None
        assert list(places.open_to_others(config)) == []
        config.server.tls_key.chmod(0o644)
        dsn = with_secret(tmp_path, b"postgresql://h/d")
        config = msgspec.structs.replace(config, store=StoreSection(kind="postgres", dsn_file=dsn))
        assert list(places.open_to_others(config)) == [config.server.tls_key]
