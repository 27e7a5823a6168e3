"""The configuration: what is read, what is refused and in which words, and the sample that is generated from it."""

import contextlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leeside_server.config import DEFAULT_PORT, ENVIRONMENT, Config
from leeside_server.config_file import find, read, sample
from leeside_server.core.rates import Rate
from leeside_server.errors import EXIT_CONFIG, ConfigInvalid

ORIGIN = '[server]\npublic_origins = ["https://relay.example"]\n'
PROVIDER = f'client_id = "leeside"\nagency = "{"a" * 32}"\n'
SAMPLE = Path(__file__).parents[2] / "deploy/leeside.toml"


def write(folder: Path, text: str) -> Path:
    path = folder / "leeside.toml"
    path.write_text(text)
    return path


def refused(folder: Path, text: str, **environment: str) -> list[str]:
    with pytest.raises(ConfigInvalid) as error:
        read(write(folder, text), environment)
    assert error.value.exit_code == EXIT_CONFIG
    return [str(problem) for problem in error.value.problems]


class TestReading:
    def test_without_a_file_everything_has_its_default(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        config = read(None, {})
        assert (config.server.host, config.server.port) == ("127.0.0.1", DEFAULT_PORT)
        assert config.store_path == tmp_path / "leeside-data/leeside.db"
        assert config.code_path == tmp_path / "leeside-data/bootstrap-codes"

    def test_values_of_every_kind(self, tmp_path: Path) -> None:
        config = read(
            write(
                tmp_path,
                """
                [server]
                port = 9000
                public_origins = ["https://relay.example.org", "http://localhost:5173"]
                trusted_proxies = ["10.0.0.5", "fd00::/8"]
                data_dir = "data"
                drain_s = 5
                [store]
                kind = "postgres"
                dsn_file = "/run/secrets/dsn"
                [bus]
                kind = "redis"
                url_file = "secrets/redis"
                prefix = "city-2:"
                [limits]
                sign_ins_per_source = { per_s = 1, burst = 5 }
                [log]
                level = "debug"
                """,
            ),
            {},
        )
        assert config.server.public_origins == ("https://relay.example.org", "http://localhost:5173")
        assert [str(network) for network in config.server.proxy_networks] == ["10.0.0.5/32", "fd00::/8"]
        assert config.server.data_dir == tmp_path / "data"
        assert config.server.drain_s == 5.0
        assert config.store.dsn_file == Path("/run/secrets/dsn")
        assert config.bus.url_file == tmp_path / "secrets/redis"
        assert config.limits.sign_ins_per_source == Rate(1.0, 5)
        assert config.log.level == "debug"

    def test_variables_stand_over_the_file(self, tmp_path: Path) -> None:
        path = write(tmp_path, '[server]\nport = 1\nhost = "127.0.0.1"\n')
        config = read(
            path,
            {
                "LEESIDE_PORT": "9001",
                "LEESIDE_HOST": "0.0.0.0",
                "LEESIDE_TRUSTED_PROXIES": "10.0.0.5, 10.0.1.0/24",
                "LEESIDE_DATA_DIR": "/var/lib/leeside",
                "LEESIDE_LOG_FORMAT": "console",
            },
        )
        assert (config.server.host, config.server.port) == ("0.0.0.0", 9001)
        assert config.server.trusted_proxies == ("10.0.0.5", "10.0.1.0/24")
        assert config.server.data_dir == Path("/var/lib/leeside")
        assert config.log.format == "console"

    def test_every_variable_names_a_setting(self) -> None:
        for section, key in ENVIRONMENT.values():
            assert key in getattr(Config(), section).__struct_fields__

    def test_which_file_is_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert find(None, {}) is None
        assert find(None, {"LEESIDE_CONFIG": "/etc/x.toml"}) == Path("/etc/x.toml")
        write(tmp_path, "")
        assert find(None, {}) == Path("leeside.toml")
        assert find(Path("given.toml"), {"LEESIDE_CONFIG": "/etc/x.toml"}) == Path("given.toml")


class TestRefusals:
    def test_an_unknown_setting_with_the_nearest_known_name(self, tmp_path: Path) -> None:
        assert refused(tmp_path, "[server]\nprot = 1\n") == [
            "[server] The setting `prot` is not known. Is `port` meant?"
        ]
        assert refused(tmp_path, '[store]\ndsn = "postgresql://u:secret@h/d"\n') == [
            "[store] The setting `dsn` is not known. Is `dsn_file` meant?"
        ]

    def test_an_unknown_section(self, tmp_path: Path) -> None:
        assert refused(tmp_path, "[limit]\n") == ["The section `limit` is not known. Is `limits` meant?"]
        (only,) = refused(tmp_path, "[zzz]\n")
        assert only.startswith("The section `zzz` is not known. Known here: server, store, ")

    def test_a_section_that_is_none(self, tmp_path: Path) -> None:
        assert refused(tmp_path, "server = 1\n") == [
            "`server` is a section. Write [server] on a line of its own."
        ]

    def test_a_mistyped_variable(self, tmp_path: Path) -> None:
        assert refused(tmp_path, "", LEESIDE_PROT="1") == [
            "The variable LEESIDE_PROT is not known. Is LEESIDE_PORT meant?"
        ]
        read(
            write(tmp_path, ""),
            {"LEESIDE_TEST_REDIS": "/x", "LEESIDE_UV": "/y", "LEESIDE_PASSPHRASE_FILE": "z"},
        )

    @pytest.mark.parametrize(
        ("line", "must"),
        [
            ("port = -1", "[server] port is not valid. It must be a whole number from 0 to 65535."),
            ("port = 65536", "[server] port is not valid. It must be a whole number from 0 to 65535."),
            ('port = "80"', "[server] port is not valid. It must be a whole number from 0 to 65535."),
            ("port = true", "[server] port is not valid. It must be a whole number from 0 to 65535."),
            ("drain_s = inf", "[server] drain_s is not valid. It must be a number of seconds from 0 to 300."),
            ("drain_s = nan", "[server] drain_s is not valid. It must be a number of seconds from 0 to 300."),
            ("drain_s = -1", "[server] drain_s is not valid. It must be a number of seconds from 0 to 300."),
            ('roles = ["bridge"]', '[server] roles is not valid. It must be a list of "relay" and "video".'),
            ("roles = []", '[server] roles is not valid. It must be a list of "relay" and "video".'),
            ('data_dir = ""', "[server] data_dir is not valid. It must be the path of a folder."),
            ("tls_cert = 1", "[server] tls_cert is not valid. It must be the path of a file."),
            (
                'host = "relay.example.org"',
                '[server] host must be an IP address or `localhost`. For every address write host = "0.0.0.0".',
            ),
        ],
    )
    def test_a_value_that_does_not_fit(self, tmp_path: Path, line: str, must: str) -> None:
        assert refused(tmp_path, f"[server]\n{line}\n") == [must]

    @pytest.mark.parametrize(
        "text",
        [
            '[store]\nkind = "mysql"\n',
            '[store]\nsynchronous = "normal"\n',
            '[store]\nsynchronous = "off"\n',
            '[bus]\nprefix = "a b"\n',
            '[bus]\nprefix = ""\n',
            "[retention]\nids_days = 6\n",
            "[limits]\nmax_connections = 0\n",
            "[limits]\nsockets = { per_s = 0, burst = 1 }\n",
            "[limits]\nsockets = { per_s = nan, burst = 1 }\n",
            "[limits]\nagencies_per_source = { per_s = 1, burst = 0 }\n",
            "[limits]\nsockets = { per_sec = 1, burst = 1 }\n",
            f"[limits]\nblob_bytes = {2**40}\n",
            '[log]\nlevel = "verbose"\n',
            '[push]\ncontact = "duty officer"\n',
            '[push]\ncontact = "http://relay.example"\n',
            '[paging]\nwebhook_url = "https://gateway.example/leeside"\n',
            '[paging]\nwebhook_url = "http://gateway.example/leeside"\nwebhook_secret_file = "x"\n',
            '[paging]\nwebhook_url = "https://gateway.example/#x"\nwebhook_secret_file = "x"\n',
            '[paging]\nwebhook_url = "gateway.example"\n',
            "[paging]\nprobe_hours = 24\n",
            '[server]\nroles = ["video", "video", "relay"]\n',
            '[server]\nroles = ["video"]\n',
            "[video]\nelsewhere = true\n",
            "[video]\nlisten = []\n",
            '[video]\nlisten = ["0.0.0.0"]\n',
            '[video]\nlisten = ["::"]\n',
            '[video]\nlisten = ["bridge.example"]\n',
            '[video]\npublic = ["203.0.113.20", "203.0.113.21"]\n',
            '[video]\npublic = ["2001:db8:20::1"]\n',
            "[video]\nport = 65535\nworkers = 2\n",
            "[video]\nworkers = 65\n",
            '[video]\nphone = "ring <b>me</b>"\n',
            '[turn]\nurls = ["turn:turn.example"]\n',
            '[turn]\nsecret_file = "x"\nurls = ["stun:stun.example:19302"]\n',
            '[turn]\nsecret_file = "x"\nurls = ["https://turn.example"]\n',
            '[turn]\nsecret_file = "x"\nurls = ["turn:turn.example?transport=sctp"]\n',
            '[turn]\nsecret_file = "x"\nurls = ["turn:a", "turn:b", "turn:c", "turn:d", "turn:e"]\n',
            '[oidc]\nclient_id = "leeside"\n',
            f'{ORIGIN}[oidc]\nissuer = "http://login.example"\n{PROVIDER}',
            f'{ORIGIN}[oidc]\nissuer = "https://login.example?tenant=1"\n{PROVIDER}',
            f'{ORIGIN}[oidc]\nissuer = "https://login.example"\nclient_id = "leeside"\n',
            f'[oidc]\nissuer = "https://login.example"\n{PROVIDER}',
            f'{ORIGIN}[oidc]\nissuer = "https://login.example"\nclient_id = "x"\nagency = "{"A" * 32}"\n',
        ],
    )
    def test_other_values_that_do_not_fit(self, tmp_path: Path, text: str) -> None:
        assert len(refused(tmp_path, text)) == 1

    def test_a_bridge_behind_a_nat_and_a_turn_server_that_fit(self, tmp_path: Path) -> None:
        config = read(
            write(
                tmp_path,
                """
                [server]
                roles = ["relay", "video"]
                [video]
                listen = ["10.0.0.20", "2001:db8:20::1"]
                public = ["203.0.113.20", "2001:db8:20::1"]
                phone = "+1 555 0100, code 4711#"
                [turn]
                urls = ["turn:turn.example:3478", "turns:[2001:db8:30::1]:443?transport=tcp"]
                secret_file = "turn-secret"
                """,
            ),
            {},
        )
        assert config.video.public == ("203.0.113.20", "2001:db8:20::1")
        assert config.turn.secret_file == tmp_path / "turn-secret"

    def test_a_bridge_alone_needs_no_store(self, tmp_path: Path) -> None:
        bus = '[bus]\nkind = "redis"\nurl_file = "x"\n'
        assert read(write(tmp_path, f'[server]\nroles = ["video"]\n{bus}'), {}).server.roles == ("video",)

    @pytest.mark.parametrize("url", ["https://gateway.example:8443/leeside?a=1", "http://127.0.0.1:9/x"])
    def test_a_gateway_that_fits(self, tmp_path: Path, url: str) -> None:
        path = tmp_path / "leeside.toml"
        path.write_text(f'[paging]\nwebhook_url = "{url}"\nwebhook_secret_file = "secret"\n')
        assert read(path, {}).paging.webhook_url == url

    @pytest.mark.parametrize("issuer", ["https://login.example/realm/one", "http://127.0.0.1:9"])
    def test_a_provider_that_fits(self, tmp_path: Path, issuer: str) -> None:
        path = tmp_path / "leeside.toml"
        path.write_text(f'{ORIGIN}[oidc]\nissuer = "{issuer}"\n{PROVIDER}')
        assert read(path, {}).oidc.issuer == issuer

    def test_a_wrong_variable_is_named_as_it_was_given(self, tmp_path: Path) -> None:
        assert refused(tmp_path, "", LEESIDE_PORT="http") == [
            "LEESIDE_PORT is not valid. It must be a whole number from 0 to 65535."
        ]

    def test_everything_wrong_is_told_at_once(self, tmp_path: Path) -> None:
        assert len(refused(tmp_path, '[server]\nport = -1\nhots = "x"\n[log]\nlevel = "loud"\n[more]\n')) == 4

    def test_values_are_never_repeated(self, tmp_path: Path) -> None:
        text = '[server]\nport = "canary"\nhost = "canary"\npublic_origins = ["canary"]\n[store]\nkind = "canary"\n'
        assert not any("canary" in problem for problem in refused(tmp_path, text))

    def test_what_is_no_toml_is_told_with_its_place_alone(self, tmp_path: Path) -> None:
        (only,) = refused(tmp_path, "[server]\nport = canary\n")
        assert "is not TOML (at line 2" in only
        assert "canary" not in only

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigInvalid, match="There is no file"):
            read(tmp_path / "none.toml", {})
        with pytest.raises(ConfigInvalid, match="cannot be read"):
            read(tmp_path, {})

    @given(st.binary(max_size=200))
    def test_no_bytes_make_it_fail_otherwise(
        self, tmp_path_factory: pytest.TempPathFactory, data: bytes
    ) -> None:
        path = tmp_path_factory.getbasetemp() / "any.toml"
        path.write_bytes(b"[server]\nport = " + data)
        with contextlib.suppress(ConfigInvalid):
            read(path, {})


class TestExposure:
    """A server that others can reach has TLS, or a proxy that has it."""

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.10", "2001:db8::1"])
    def test_a_plain_port_for_others_is_refused_with_reason_and_fix(self, tmp_path: Path, host: str) -> None:
        (only,) = refused(tmp_path, f'[server]\nhost = "{host}"\n')
        assert "can be reached from other machines" in only
        assert "would travel in the open" in only
        for fix in ("tls_cert and tls_key", "trusted_proxies", 'host = "127.0.0.1"'):
            assert fix in only

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
    def test_this_machine_alone_needs_nothing(self, tmp_path: Path, host: str) -> None:
        assert read(write(tmp_path, f'[server]\nhost = "{host}"\n'), {}).server.loopback

    def test_tls_or_a_proxy_admits_it(self, tmp_path: Path) -> None:
        read(write(tmp_path, '[server]\nhost = "::"\ntls_cert = "c"\ntls_key = "k"\n'), {})
        read(write(tmp_path, '[server]\nhost = "::"\ntrusted_proxies = ["10.0.0.5"]\n'), {})

    def test_half_of_tls_is_refused(self, tmp_path: Path) -> None:
        problems = refused(tmp_path, '[server]\nhost = "::"\ntls_cert = "c"\n')
        assert problems[0].startswith("[server] tls_key is missing")

    @pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0"])
    def test_trusting_everyone_is_refused(self, tmp_path: Path, network: str) -> None:
        (only,) = refused(tmp_path, f'[server]\nhost = "::"\ntrusted_proxies = ["{network}"]\n')
        assert "trusts everyone" in only

    def test_what_is_no_network(self, tmp_path: Path) -> None:
        (only,) = refused(tmp_path, '[server]\nhost = "::"\ntrusted_proxies = ["proxy.example.org"]\n')
        assert "is no network" in only

    @pytest.mark.parametrize(
        "origin",
        [
            "*",
            "null",
            "relay.example.org",
            "http://relay.example.org",
            "https://relay.example.org/",
            "https://relay.example.org/app",
            "https://user@relay.example.org",
            "https://relay.example.org:x",
            "https://[",
            "ftp://localhost",
        ],
    )
    def test_what_is_no_origin(self, tmp_path: Path, origin: str) -> None:
        (only,) = refused(tmp_path, f'[server]\npublic_origins = ["{origin}"]\n')
        assert "is not an origin" in only


class TestContradictions:
    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ('[store]\nkind = "postgres"\n', "dsn_file is not set"),
            ('[store]\ndsn_file = "x"\n', "kind is sqlite"),
            ('[bus]\nkind = "redis"\n[store]\nkind = "postgres"\ndsn_file = "x"\n', "url_file is not set"),
            ('[bus]\nurl_file = "x"\n', "kind is memory"),
            ('[bus]\nkind = "redis"\nurl_file = "x"\n', "SQLite serves one process"),
        ],
    )
    def test_settings_that_do_not_go_together(self, tmp_path: Path, text: str, says: str) -> None:
        (only,) = refused(tmp_path, text)
        assert says in only


class TestSample:
    def test_the_file_in_deploy_is_the_generated_one(self) -> None:
        assert SAMPLE.read_text() == sample(), "run: leeside-server default-config > deploy/leeside.toml"

    def test_it_says_the_defaults(self, tmp_path: Path) -> None:
        assert read(write(tmp_path, sample()), {}) == read(write(tmp_path, ""), {})

    def test_its_examples_are_known_settings_of_the_right_kind(self, tmp_path: Path) -> None:
        shown = re.sub(r'(?m)^# (\w+ = ")', r"\1", sample())
        shown = shown.replace('kind = "sqlite"', 'kind = "postgres"').replace(
            'kind = "memory"', 'kind = "redis"'
        )
        config = read(write(tmp_path, shown), {})
        assert config.server.tls
        assert config.store.dsn_file is not None
        assert config.bus.url_file is not None

    def test_every_setting_is_explained(self) -> None:
        lines = sample().splitlines()
        for number, line in enumerate(lines):
            if re.match(r"(# )?\w+ = ", line) and "tls_key" not in line:
                assert lines[number - 1].startswith("# "), line

    def test_no_line_is_too_long(self) -> None:
        assert max(len(line) for line in sample().splitlines()) <= 110
