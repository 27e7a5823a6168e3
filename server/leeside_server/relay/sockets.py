"""The sockets of a node: which there are, whose they are, and closing those that lost access."""

from __future__ import annotations

import asyncio

from leeside_protocol.errors import CloseCode
from leeside_protocol.ids import AgencyId, DeviceId
from leeside_server.core.notices import Access
from leeside_server.relay.metrics import Metrics
from leeside_server.relay.socket import Socket


class Sockets:
    """Every socket from its upgrade to its end."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._all: dict[Socket, None] = {}
        self._devices: dict[tuple[AgencyId, DeviceId], dict[Socket, None]] = {}
        self.congested: dict[Socket, None] = {}
        self.devices_changed = False
        """A device came or went since presence was last renewed; who renews sets it back."""
        self.came = asyncio.Event()
        """A device came; who tells other nodes sets it back."""

    def __len__(self) -> int:
        return len(self._all)

    def opened(self, socket: Socket) -> None:
        """A socket was accepted."""
        self._all[socket] = None

    def signed_in(self, socket: Socket) -> None:
        """Its claims are known."""
        self._devices.setdefault((socket.agency, socket.device), {})[socket] = None
        self.devices_changed = True
        self.came.set()
        self._metrics.sockets.inc()

    def gone(self, socket: Socket) -> None:
        """The connection has ended."""
        self._all.pop(socket, None)
        self.congested.pop(socket, None)
        if socket.claims is None:
            return
        key = (socket.agency, socket.device)
        mine = self._devices.get(key, {})
        if socket in mine:
            del mine[socket]
            self._metrics.sockets.dec()
            if not mine:
                self._devices.pop(key, None)
                self.devices_changed = True

    def all(self) -> tuple[Socket, ...]:
        """Every socket, those that are not signed in yet too."""
        return tuple(self._all)

    def devices(self) -> tuple[tuple[AgencyId, DeviceId], ...]:
        """Devices that are connected here."""
        return tuple(self._devices)

    def holds(self, agency: AgencyId, device: DeviceId) -> bool:
        """Whether a device is connected here, this very moment."""
        return (agency, device) in self._devices

    def out(self, agency: AgencyId, kind: Access, subject: bytes) -> None:
        """A device was revoked or a session has ended: close its sockets now."""
        if kind is Access.DEVICE_OUT:
            for socket in tuple(self._devices.get((agency, DeviceId(subject)), ())):
                socket.revoke(CloseCode.REVOKED)
        elif kind is Access.SESSION_OUT:
            for socket in self.all():
                claims = socket.claims
                if claims is not None and claims.agency == agency and claims.session == subject:
                    socket.revoke(CloseCode.TOKEN_INVALID)
