"""The shipped turnserver.conf, run by a real coturn: whom it lets in, whom it speaks to, and how much.

A TURN server that relays to anywhere is a door into the network that it stands in. So each range that is special
(RFC 6890 and the registries after it) is asked for, in each way that TURN has, and refused; the bridge alone is not.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
import ssl
import struct
import time
from collections.abc import Generator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from deploy.devtool.place import ROOT
from leeside_protocol.ids import DeviceId
from leeside_server.config import VideoSection
from leeside_server.core.video import turn_server
from leeside_server.video.words import Configure
from tests.support.coturn import CONFIGURATION, LIFETIME_S, PORT, Coturn, coturn_running, credential
from tests.support.patience import PATIENCE_S
from tests.support.turn_client import TCP, Address, NoAnswer, Refused, TurnClient

UNAUTHORIZED, FORBIDDEN, OVER_QUOTA = 401, 403, 486
REFUSED_AGAIN: Final = {OVER_QUOTA, 437}
"""437: the system gave a client the port that another one was refused on a moment ago."""
SOFTWARE: Final = 0x8022
SPECIAL4: Final = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
    "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32",
)  # fmt: skip
SPECIAL6: Final = (
    "::/128", "::1/128", "::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23",
    "2001::/32", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10",
    "fec0::/10", "ff00::/8",
)  # fmt: skip
METADATA: Final = ("169.254.169.254", "fd00:ec2::254")
"""Where clouds keep the keys of a machine."""
PUBLIC4: Final = ("8.8.8.8", "1.1.1.1", "45.0.0.1")
PUBLIC6: Final = ("2606:4700::1111", "2a00:1450::1")
QUOTA: Final = 24
FLAT_BYTES: Final = 8_000_000
"""Four thousand refused clients would take ten times as much if they were kept."""


def edges(network: str) -> list[str]:
    """The first, the middle and the last address of a range."""
    whole = ipaddress.ip_network(network)
    return sorted({str(whole[at]) for at in (0, whole.num_addresses // 2, -1)})


def hidden(address: str) -> list[str]:
    """An IPv4 address in the IPv6 forms that could lead to it: mapped, compatible, translated, 6to4."""
    number = int(ipaddress.IPv4Address(address))
    forms = (0xFFFF << 32 | number, number, 0x64FF9B << 96 | number, 0x2002 << 112 | number << 80)
    return [str(ipaddress.IPv6Address(form)) for form in forms]


def refused(client: TurnClient, addresses: Sequence[str]) -> list[str]:
    """Those of the addresses that the server lets nobody speak to, asked in both ways."""
    found: list[str] = []
    for number, address in enumerate(addresses):
        codes: list[int] = []
        for ask in (client.permit, partial(client.bind, 0x4000 + number)):
            try:
                ask((address, 5000))
            except Refused as refusal:
                codes.append(refusal.code)
        if codes == [FORBIDDEN, FORBIDDEN]:
            found.append(address)
    return found


@contextlib.contextmanager
def ear(host: str) -> Generator[socket.socket]:
    """A socket on an address of ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as bound:
        bound.bind((host, 0))
        bound.settimeout(10.0)
        yield bound


def place(bound: socket.socket) -> Address:
    """Where a socket can be reached."""
    name = bound.getsockname()
    return name[0], name[1]


def code_of(client: TurnClient) -> int:
    """What an attempt to allocate is answered with; 0 if it is granted."""
    with client:
        try:
            client.allocate()
        except Refused as refusal:
            return refusal.code
    return 0


# ---- whom it speaks to


@pytest.mark.parametrize("network", SPECIAL4)
def test_no_special_range_is_a_peer(coturn_server: Coturn, network: str) -> None:
    with coturn_server.client() as client:
        client.allocate()
        assert refused(client, edges(network)) == edges(network)
    with coturn_server.client(family=6) as client:
        client.allocate()
        forms = [form for address in edges(network) for form in hidden(address)]
        assert refused(client, forms) == forms


@pytest.mark.parametrize("network", SPECIAL6)
def test_no_special_range_of_ipv6_is_a_peer(coturn_server: Coturn, network: str) -> None:
    with coturn_server.client(family=6) as client:
        client.allocate()
        assert refused(client, edges(network)) == edges(network)


def test_nothing_else_is_a_peer_either_not_even_itself_or_the_bridges_neighbour(
    coturn_server: Coturn,
) -> None:
    for family, host, bridge, others in (
        (4, coturn_server.host, coturn_server.bridge, (*PUBLIC4, METADATA[0])),
        (
            6,
            coturn_server.host6,
            coturn_server.bridge6,
            (*PUBLIC6, METADATA[1], *hidden(coturn_server.bridge)),
        ),
    ):
        beside = [str(ipaddress.ip_address(bridge) + step) for step in (-1, 1)]
        addresses = [host, *beside, *others]
        with coturn_server.client(family=family) as client:
            client.allocate()
            assert refused(client, addresses) == addresses


def test_one_bad_peer_among_good_ones_spoils_the_request(coturn_server: Coturn) -> None:
    with coturn_server.client() as client:
        client.allocate()
        with pytest.raises(Refused) as refusal:
            client.permit((coturn_server.bridge, 5000), ("127.0.0.1", 5000))
        assert refusal.value.code == FORBIDDEN


@pytest.mark.parametrize("family", [4, 6])
def test_the_bridge_is_reached_and_reaches_back(coturn_server: Coturn, family: int) -> None:
    bridge = coturn_server.bridge if family == 4 else coturn_server.bridge6
    with ear(bridge) as heard, coturn_server.client(family=family) as client:
        client.allocate()
        assert client.relayed is not None
        client.permit(place(heard))
        client.send(b"sealed", place(heard))
        data, source = heard.recvfrom(100)
        assert data == b"sealed"
        assert (source[0], source[1]) == client.relayed
        heard.sendto(b"back", client.relayed)
        assert client.receive() == (b"back", place(heard))


def test_over_tls_it_is_the_same(coturn_server: Coturn) -> None:
    with ear(coturn_server.bridge) as heard, coturn_server.tls_client() as client:
        client.allocate()
        assert client.relayed is not None
        client.bind(0x4001, place(heard))
        client.send_on(0x4001, b"sealed, through a network that passes nothing but the web")
        data, _ = heard.recvfrom(100)
        assert data == b"sealed, through a network that passes nothing but the web"
        client.permit(place(heard))
        with pytest.raises(Refused):
            client.permit(("127.0.0.1", 5000))


def test_data_for_who_was_not_allowed_arrives_nowhere(coturn_server: Coturn) -> None:
    with (
        ear("127.0.0.1") as loopback,
        ear(coturn_server.host) as itself,
        ear(coturn_server.bridge) as heard,
        coturn_server.client() as client,
    ):
        client.allocate()
        client.permit(place(heard))
        for victim in (loopback, itself):
            client.send(b"an attack", place(victim))
        client.send(b"sealed", place(heard))
        assert heard.recv(100) == b"sealed"
        for victim in (loopback, itself):
            victim.setblocking(False)
            with pytest.raises(BlockingIOError):
                victim.recv(100)


def test_only_the_bridge_may_speak_to_a_client(coturn_server: Coturn) -> None:
    with (
        ear(coturn_server.host) as stranger,
        ear(coturn_server.bridge) as bridge,
        coturn_server.client() as client,
    ):
        client.allocate()
        assert client.relayed is not None
        client.permit(place(bridge))
        stranger.sendto(b"a stranger", client.relayed)
        bridge.sendto(b"the bridge", client.relayed)
        assert client.receive() == (b"the bridge", place(bridge))


def test_it_carries_datagrams_only(coturn_server: Coturn) -> None:
    with coturn_server.client() as client, pytest.raises(Refused):
        client.allocate(transport=TCP)


# ---- who may


def test_strangers_are_refused(coturn_server: Coturn) -> None:
    now_s = time.time()
    username, good = coturn_server.credential("device")
    later = f"{int(now_s) + 10 * LIFETIME_S}:device"
    tried = {
        "no credential": ("", ""),
        "of another secret": credential("device", now_s + LIFETIME_S, "another secret"),
        "expired": credential("device", now_s - 1),
        "with its time made longer": (later, good),
        "for somebody else": (username.replace("device", "other"), good),
        "without a time": ("device", credential("device", now_s)[1]),
        "nothing for a password": (username, ""),
    }
    got = {what: code_of(TurnClient(coturn_server.address, *pair)) for what, pair in tried.items()}
    assert got == dict.fromkeys(tried, UNAUTHORIZED)
    assert code_of(TurnClient(coturn_server.address, username, good)) == 0


def test_what_a_node_gives_out_is_taken_and_names_nobody(coturn_server: Coturn) -> None:
    """`leeside_server.core.video.turn_server` and coturn agree on how a credential is made."""
    device = DeviceId(b"D" * 16)
    given = turn_server(coturn_server.urls, coturn_server.secret, b"R" * 16, device, int(time.time() * 1000))
    assert code_of(TurnClient(coturn_server.address, given.username, given.credential)) == 0
    until, _, name = given.username.partition(":")
    assert 0 < int(until) - time.time() <= LIFETIME_S
    assert device.hex() not in name
    old = turn_server(coturn_server.urls, coturn_server.secret, b"R" * 16, device, 0)
    assert code_of(TurnClient(coturn_server.address, old.username, old.credential)) == UNAUTHORIZED


@pytest.mark.slow
def test_a_call_outlives_the_credential_that_it_began_with(coturn_server: Coturn) -> None:
    until_s = int(time.time()) + 4
    pair = credential("device", until_s)
    with TurnClient(coturn_server.address, *pair) as client:
        client.allocate()
        while time.time() < until_s + 1.5:
            time.sleep(0.1)
        assert client.refresh(LIFETIME_S) == LIFETIME_S
        client.permit((coturn_server.bridge, 5000))
        assert code_of(TurnClient(coturn_server.address, *pair)) == UNAUTHORIZED


def test_nobody_without_a_credential_gets_an_answer_to_turn_on_others(coturn_server: Coturn) -> None:
    with TurnClient(coturn_server.address, "", "", patience_s=0.3) as client, pytest.raises(NoAnswer):
        client.ask_binding()


# ---- how much


def test_one_client_cannot_take_all(coturn_server: Coturn) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(QUOTA):
            stack.enter_context(coturn_server.client("greedy")).allocate()
        assert code_of(coturn_server.client("greedy")) == OVER_QUOTA
        assert code_of(coturn_server.client("somebody-else")) == 0
    # What was given back can be had again, a moment later.
    deadline_s = time.monotonic() + PATIENCE_S
    while code_of(coturn_server.client("greedy")) == OVER_QUOTA:
        assert time.monotonic() < deadline_s
        time.sleep(0.1)


def a_thousand_attempts(server: Coturn) -> set[int]:
    """What a thousand clients that come one after another are told."""
    return {code_of(server.client()) for _ in range(1_000)}


@pytest.mark.slow
@pytest.mark.usefixtures("coturn_server")
def test_thousands_beyond_the_total_are_refused_and_leave_nothing_behind() -> None:
    """Who is refused is remembered for a moment. The first thousand shows what that takes; four more must take no more."""
    with (
        coturn_running({"total-quota": "20", "max-allocate-timeout": "1"}) as small,
        contextlib.ExitStack() as stack,
    ):
        held = [stack.enter_context(small.client()) for _ in range(20)]
        for client in held:
            client.allocate()
        assert a_thousand_attempts(small) <= REFUSED_AGAIN
        first_bytes = small.memory_bytes()
        for _ in range(4):
            time.sleep(2.0)
            assert a_thousand_attempts(small) <= REFUSED_AGAIN
        assert small.memory_bytes() - first_bytes < FLAT_BYTES
        # Those who were there before are undisturbed.
        assert [client.refresh(LIFETIME_S) for client in held] == [LIFETIME_S] * 20


def test_an_allocation_is_short(coturn_server: Coturn) -> None:
    with coturn_server.client() as client:
        answer = client.allocate(lifetime_s=86_400)
        assert struct.unpack("!I", answer.attributes[0x000D])[0] == LIFETIME_S
        assert SOFTWARE not in answer.attributes
        assert client.refresh(86_400) == LIFETIME_S


# ---- what is open


def test_it_listens_where_the_file_says_and_nowhere_else(coturn_server: Coturn) -> None:
    inodes: set[str] = set()
    for path in Path(f"/proc/{coturn_server.process.pid}/fd").iterdir():
        # One that is closed while we look is none that it listens on.
        with contextlib.suppress(FileNotFoundError):
            if match := re.match(r"socket:\[(\d+)\]", str(path.readlink())):
                inodes.add(match[1])
    listening: set[int] = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in inodes:
                listening.add(int(words[1].rpartition(":")[2], 16))
    assert listening == {coturn_server.tls_port}


def test_old_tls_is_refused(coturn_server: Coturn) -> None:
    context = ssl.create_default_context()
    coturn_server.authority.configure_trust(context)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        TurnClient(coturn_server.tls_address, "", "", tls=context, tls_name="turn.example.org")


def test_every_line_is_understood_and_nothing_is_written_about_who_calls(coturn_server: Coturn) -> None:
    with coturn_server.client("a-name-to-be-kept") as client:
        client.allocate()
        client.permit((coturn_server.bridge, 5000))
    assert not re.search(r"bad config|unknown|warning", coturn_server.log, re.IGNORECASE)
    assert "a-name-to-be-kept" not in coturn_server.log


def test_the_file_says_what_the_tests_assume() -> None:
    text = CONFIGURATION.read_text()
    said = dict(re.findall(r"^([\w-]+)=(.*)$", text, re.MULTILINE))
    assert said["user-quota"] == str(QUOTA)
    assert said["max-allocate-lifetime"] == str(LIFETIME_S)
    assert said["listening-port"] == str(PORT)
    ports = int(said["max-port"]) - int(said["min-port"]) + 1
    assert ports >= 2 * int(said["total-quota"]), "allocations would fight for ports"
    for flag in ("use-auth-secret", "no-cli", "no-tcp-relay", "no-multicast-peers", "no-rfc5780", "no-stun"):
        assert re.search(rf"^{flag}$", text, re.MULTILINE), flag
    assert "allow-loopback-peers" not in text


def test_the_guide_opens_the_ports_that_are_used() -> None:
    guide = (ROOT / "docs/operators-guide.md").read_text()
    said = dict(re.findall(r"^([\w-]+)=(.*)$", CONFIGURATION.read_text(), re.MULTILINE))
    for told in (
        f"UDP {VideoSection().port} and one more for each worker",
        f"UDP {said['listening-port']}, TCP {said['tls-listening-port']}",
        f"UDP {said['min-port']}-{said['max-port']}",
        f"takes {Configure((), 0).peers} people",
    ):
        assert told in guide, told
