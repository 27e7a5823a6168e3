"""Dockerfile, compose files and Caddyfile: read, because nothing here can build or run them."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from deploy.devtool.place import ROOT
from deploy.devtool.services import CADDY
from leeside_server.config import CONFIG_VARIABLE, DEFAULT_PORT, ENVIRONMENT, STATUS_PORT, VideoSection

DEPLOY: Final = ROOT / "deploy"
DOCKERFILE: Final = (DEPLOY / "Dockerfile").read_text()
KNOWN: Final = frozenset(
    {"FROM", "RUN", "COPY", "WORKDIR", "ENV", "USER", "VOLUME", "EXPOSE", "HEALTHCHECK", "STOPSIGNAL", "ENTRYPOINT", "CMD"}
)  # fmt: skip


def instructions() -> list[tuple[str, str]]:
    """Every instruction with its text, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ")
    pairs = [line.partition(" ") for line in text.splitlines() if line.strip()]
    return [(name, rest.strip()) for name, _, rest in pairs]


def compose(name: str) -> Any:
    return yaml.safe_load((DEPLOY / "compose" / name).read_text())


def merged(*over: str) -> dict[str, dict[str, Any]]:
    """Services as compose merges the files: mappings key by key, lists one behind the other, the rest by the later file."""
    found: dict[str, dict[str, Any]] = {}
    for file in ("compose.yaml", *(over or ("cluster.yaml",))):
        for name, service in compose(file)["services"].items():
            there = found.setdefault(name, {})
            for key, value in service.items():
                if isinstance(value, dict) and isinstance(there.get(key), dict):
                    there[key] = {**there[key], **value}
                elif isinstance(value, list) and isinstance(there.get(key), list) and key in LISTS:
                    there[key] = [*there[key], *value]
                else:
                    there[key] = value
    return found


LISTS: Final = frozenset({"ports", "secrets"})
"""Settings of which compose keeps both files' elements."""


def test_the_image_runs_as_nobody_of_importance_and_copies_what_exists() -> None:
    assert {name for name, _ in instructions()} <= KNOWN
    assert [name for name, _ in instructions()].count("FROM") == 2
    users = [text for name, text in instructions() if name == "USER"]
    assert users == ["8470:8470"]
    after = [name for name, _ in instructions()]
    assert after.index("USER") > len(after) - after[::-1].index("FROM")
    for name, text in instructions():
        if name == "COPY" and not text.startswith("--from"):
            for source in text.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert f"!{source.split('/')[0]}" in (DEPLOY / "Dockerfile.dockerignore").read_text()


def test_the_image_installs_from_the_lock_with_the_pinned_uv() -> None:
    pinned = re.search(r"^UV_VERSION=(\S+)$", (ROOT / "dev").read_text(), re.MULTILINE)
    assert pinned is not None
    assert f"uv=={pinned.group(1)}" in DOCKERFILE
    assert "--constraint requirements.lock" in DOCKERFILE
    assert f"EXPOSE {DEFAULT_PORT}" in DOCKERFILE
    assert ("ENTRYPOINT", '["leeside-server"]') in instructions()


def test_every_variable_is_one_that_the_server_reads() -> None:
    known = {*ENVIRONMENT, CONFIG_VARIABLE}
    assert set(re.findall(r"LEESIDE_\w+", DOCKERFILE)) <= known
    for name, service in merged().items():
        if name.startswith("node"):
            assert set(service["environment"]) <= known, name


@pytest.mark.parametrize("name", ["node1", "node2"])
def test_nodes_are_closed_and_given_the_time_to_drain(name: str) -> None:
    service = merged()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["stop_grace_period"] == "45s"
    assert "ports" not in service
    assert service["networks"].keys() == {"inner"}


def test_a_cluster_shares_what_it_must_and_trusts_the_proxy_alone() -> None:
    services = merged()
    first, second = services["node1"], services["node2"]
    assert first["volumes"] == second["volumes"]
    assert first["environment"] == second["environment"]
    proxy = services["proxy"]["networks"]["inner"]["ipv4_address"]
    assert first["environment"]["LEESIDE_TRUSTED_PROXIES"] == proxy
    addresses = [service["networks"]["inner"]["ipv4_address"] for service in (first, second)]
    assert services["proxy"]["environment"]["LEESIDE_NODES"].split() == [f"{a}:8470" for a in addresses]
    assert compose("compose.yaml")["networks"]["inner"]["internal"] is True
    secrets = set(compose("cluster.yaml")["secrets"])
    used = {secret for service in services.values() for secret in service.get("secrets", [])}
    assert used == secrets


def test_only_the_proxy_is_reached_from_outside() -> None:
    reached = {name for name, service in merged().items() if "ports" in service}
    assert reached == {"proxy"}


@pytest.mark.parametrize("files", [("video.yaml",), ("cluster.yaml", "video.yaml")])
def test_with_calls_the_first_node_is_reached_by_media_and_by_nothing_else(files: tuple[str, ...]) -> None:
    services = merged(*files)
    node, turn = services["node1"], services["turn"]
    environment = node["environment"]
    assert {name for name in environment if name.startswith("LEESIDE")} <= {*ENVIRONMENT, CONFIG_VARIABLE}
    assert environment["LEESIDE_ROLES"] == "relay,video"
    first = VideoSection().port
    last = first + int(environment["LEESIDE_VIDEO_WORKERS"]) - 1
    assert node["ports"] == [f"{first}-{last}:{first}-{last}/udp"]
    assert environment["LEESIDE_VIDEO_LISTEN"] == node["networks"]["media"]["ipv4_address"]
    assert environment["LEESIDE_VIDEO_PUBLIC"].startswith("${LEESIDE_ADDRESS:?")
    assert node["networks"]["inner"]["ipv4_address"] == "172.30.84.11"
    assert (node["read_only"], node["cap_drop"]) == (True, ["ALL"])
    assert {name for name, service in services.items() if "ports" in service} == {"proxy", "node1"}
    assert turn["network_mode"] == "host"
    assert (turn["read_only"], turn["cap_drop"]) == (True, ["ALL"])
    # The image's program has this capability on its file: the kernel refuses to run it where it may not have it, and
    # no-new-privileges would take it away.
    assert turn["cap_add"] == ["NET_BIND_SERVICE"]
    assert "security_opt" not in turn
    assert environment["LEESIDE_TURN_SECRET_FILE"] == "/run/secrets/turn-secret"
    assert "turn-secret" in node["secrets"]
    assert "turn-secret" in compose("video.yaml")["secrets"]


@pytest.mark.parametrize(
    ("roles", "port"), [("", DEFAULT_PORT), ("relay,video", DEFAULT_PORT), ("video", STATUS_PORT)]
)
def test_the_image_asks_for_health_where_it_is_told(
    monkeypatch: pytest.MonkeyPatch, roles: str, port: int
) -> None:
    (check,) = (text for name, text in instructions() if name == "HEALTHCHECK")
    program = json.loads(check.partition("CMD ")[2])
    asked: list[str] = []

    def urlopen(url: str, timeout: float) -> None:
        assert timeout < 3
        asked.append(url)

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    monkeypatch.setenv("LEESIDE_ROLES", roles)
    assert program[:2] == ["python", "-c"]
    exec(program[2], {})
    assert asked == [f"http://127.0.0.1:{port}/healthz"]


def test_the_image_has_what_the_bridge_needs() -> None:
    assert '".[server,video]"' in DOCKERFILE
    assert f"EXPOSE {VideoSection().port}/udp" in DOCKERFILE


def test_the_caddyfile_stands_where_compose_takes_it_from() -> None:
    text = (DEPLOY / "proxy/Caddyfile").read_text()
    assert text.count("{") == text.count("}")
    mounted = compose("compose.yaml")["services"]["proxy"]["volumes"][0].split(":")[0]
    assert (DEPLOY / "compose" / mounted).resolve() == DEPLOY / "proxy/Caddyfile"
    for name in ("LEESIDE_NAME", "LEESIDE_MAIL", "LEESIDE_NODES"):
        assert f"{{${name}:" in text


@pytest.mark.skipif(CADDY.locate() is None, reason=f"no Caddy on this machine: {CADDY.fix}")
def test_caddy_itself_reads_the_caddyfile(tmp_path: Path) -> None:
    command = ["validate", "--adapter", "caddyfile", "--config", str(DEPLOY / "proxy/Caddyfile")]
    # It keeps what it finds out about certificates below these.
    home = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    done = subprocess.run(
        [str(CADDY.locate()), *command], capture_output=True, text=True, check=False, cwd=DEPLOY, env=home
    )
    assert done.returncode == 0, done.stderr
    assert "Valid configuration" in done.stdout + done.stderr
