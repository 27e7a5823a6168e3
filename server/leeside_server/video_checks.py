"""Checks of the video bridge on this machine: packages, addresses, ports, TURN; and a real call, through TURN where there is one.
The call is between two clients of our own in a worker of its own; a running server is not disturbed."""

from __future__ import annotations

import errno
import importlib.util
import os
import socket
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from typing import Final

from leeside_server import places
from leeside_server.config import Config
from leeside_server.errors import ConfigInvalid
from leeside_server.findings import Finding, Verdict

WEB_PORT: Final = ":443"


def examine_video(config: Config) -> Sequence[Finding]:
    """Every check that can be made without a call; nothing where this process has no bridge."""
    if "video" not in config.server.roles:
        return ()
    there = packages()
    ways = (fast_way(),) if there.verdict is Verdict.WELL else ()
    return (there, *ways, addresses(config), ports(config), turn(config))


def packages() -> Finding:
    """Whether what the bridge stands on is installed."""
    if importlib.util.find_spec("aiortc") is None:
        return Finding(
            "video",
            Verdict.BAD,
            "The packages of the video bridge are not installed.",
            "Install them: pip install 'leeside[video]'; or take video out of [server] roles.",
        )
    return Finding("video", Verdict.WELL, "The packages of the video bridge are installed.")


def fast_way() -> Finding:
    """Whether packets pass through C (`video/intake.c`)."""
    from leeside_server.video import fastways  # its packages may be missing

    if fastways.load() is not None:
        return Finding("video_fast_way", Verdict.WELL, "Packets are handed on in C.")
    return Finding(
        "video_fast_way",
        Verdict.WARNING,
        "Packets are handed on in Python: each takes two to three times as much.",
        "Install a C compiler (Debian: gcc and libc6-dev), then install leeside anew without a ready wheel.",
    )


def addresses(config: Config) -> Finding:
    """Whether clients could reach what they are told."""
    told = config.video.public or config.video.listen
    read = [ip_address(text) for text in told]
    if all(address.is_loopback for address in read):
        alone = config.server.loopback and not config.server.trusted_proxies
        return Finding(
            "video_addresses",
            Verdict.WELL if alone else Verdict.WARNING,
            "Calls reach the bridge from this machine alone.",
            "" if alone else "Name this machine's own addresses in [video] listen.",
        )
    hidden = [str(address) for address in read if not address.is_global]
    if hidden:
        return Finding(
            "video_addresses",
            Verdict.WARNING,
            f"Clients are told {', '.join(hidden)}, which is reached from its own network alone.",
            "Where a 1:1 NAT stands in front, name the public address in [video] public. Where everybody comes over a VPN, "
            "nothing is wrong.",
        )
    return Finding("video_addresses", Verdict.WELL, f"Clients are told {', '.join(told)}.")


def ports(config: Config) -> Finding:
    """Whether each worker could have its port on each address. One that is taken may be this server's own."""
    video = config.video
    count = video.workers or os.cpu_count() or 1
    taken: list[int] = []
    for host, port in _wanted(video.listen, video.port, count):
        error = _bind(host, port)
        if error in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
            return Finding(
                "video_ports",
                Verdict.BAD,
                f"This machine has no address {host}.",
                "[video] listen names addresses of this machine; what clients know them as belongs into public.",
            )
        if error == errno.EADDRINUSE:
            taken.append(port)
        elif error:
            return Finding(
                "video_ports",
                Verdict.BAD,
                f"UDP port {port} on {host} cannot be had: {os.strerror(error)}.",
                "Choose another [video] port.",
            )
    last = video.port + count - 1
    named = f"UDP port {video.port}" if count == 1 else f"UDP ports {video.port} to {last}"
    if taken:
        return Finding(
            "video_ports",
            Verdict.WARNING,
            f"UDP port {taken[0]} is in use{'' if len(taken) == 1 else ', and others are'}: by this server, if it runs now.",
            "Stop the server and look again; if it is still in use, choose another [video] port.",
        )
    if not video.port:
        return Finding(
            "video_ports",
            Verdict.WARNING,
            "Workers take any free UDP port: no firewall can let just these in.",
            "Set [video] port.",
        )
    return Finding("video_ports", Verdict.WELL, f"{named} can be had. The firewall must let them in.")


def turn(config: Config) -> Finding:
    """Whether who is behind a strict firewall has a way, and its secret can be read."""
    try:
        places.read_turn_secret(config)
    except ConfigInvalid as error:
        return Finding("video_turn", Verdict.BAD, error.problems[0].wrong, error.problems[0].fix)
    urls = config.turn.urls
    if not urls:
        return Finding(
            "video_turn",
            Verdict.WARNING,
            "There is no TURN server: who cannot send UDP to the bridge has no call.",
            "Run one (deploy/turn), and name it in [turn] urls.",
        )
    if not any(url.startswith("turns:") and WEB_PORT in url for url in urls):
        return Finding(
            "video_turn",
            Verdict.WARNING,
            "No TURN server answers with TLS on port 443: networks that let nothing but the web through let no call through.",
            'Add one such as "turns:turn.example.org:443?transport=tcp" to [turn] urls.',
        )
    return Finding("video_turn", Verdict.WELL, "A TURN server with TLS on port 443 is named.")


STEPS: Final = {
    "worker": ("a worker did not start", "Look at what stands above, and for the fault on standard error."),
    "turn": (
        "the TURN server gave no address",
        (
            "Compare its static-auth-secret with [turn] secret_file, its clock with this machine's, and look whether it is reached "
            "from here; its journal says what it refused."
        ),
    ),
    "path": (
        "nothing came through to the bridge",
        (
            "The TURN server may speak to allowed-peer-ip alone: name there what clients are told ([video] public, else listen). "
            "The firewall must let it reach the bridge's UDP ports."
        ),
    ),
    "handshake": (
        "the handshake with the bridge failed",
        "Something between changes packets: look at the network.",
    ),
    "media": ("no sound came back", "Something between drops packets: look at the firewall's limits."),
}
"""How far a trial call came, in words, and what to do."""


async def examine_call(config: Config) -> Sequence[Finding]:
    """Place a call, over each TURN URL or straight where there is none; nothing where this process has no bridge."""
    if "video" not in config.server.roles or importlib.util.find_spec("aiortc") is None:
        return ()
    # Not at the top: a node without a bridge does not have its packages.
    from leeside_server.video.trial import TrialFailed, Way, trial_call

    try:
        secret = places.read_turn_secret(config)
    except ConfigInvalid:
        return ()
    found: list[Finding] = []
    # The ports that the firewall lets in, unless the server has them now.
    port = config.video.port if ports(config).verdict is Verdict.WELL else 0
    for url in config.turn.urls or ("",):
        named = url or "the straight way"
        try:
            took_s = await trial_call(config.video.listen, config.video.public, Way(url, secret), port)
        except TrialFailed as failed:
            says, fix = STEPS[failed.step]
            verdict = Verdict.BAD
            if failed.step == "path" and not url:
                # Many a 1:1 NAT leads nobody back in who comes from inside.
                verdict = Verdict.WARNING if config.video.public else verdict
                fix = "Try a call from another network. The firewall must let everybody reach the bridge's UDP ports."
            found.append(Finding("video_call", verdict, f"No call over {named}: {says}.", fix))
        else:
            words = f"Two clients of this server met in a call over {named}."
            found.append(Finding("video_call", Verdict.WELL, words, "", round(took_s, 2), "s"))
    return found


def _wanted(hosts: Sequence[str], first: int, count: int) -> Iterator[tuple[str, int]]:
    for host in hosts:
        for number in range(count if first else 1):
            yield host, first + number if first else 0


def _bind(host: str, port: int) -> int:
    """0 when the port can be had, else the system's number of the reason."""
    family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as trial:
            trial.bind((host, port))
    except OSError as error:
        return error.errno or errno.EINVAL
    return 0
