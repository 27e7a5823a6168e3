"""What can go wrong in the client library, drawn once.

Exception
└── LeesideError
    ├── Offline             nothing reached the server; the outbox keeps what was to be sent
    ├── Stopped             the server said not to come back: revoked, or this version is too old
    ├── Failed              the client itself broke, e.g. because its disk is full: open it again
    ├── Refused             the server refused a request for good; `code` is a number of spec 90
    ├── OutboxFull          too much waits to be sent: nothing was taken, nothing was lost
    ├── ChannelAlarmed      sending is stopped in this channel until a person looked at the alarm
    ├── ChannelUnknown      no such channel, or this device is not in it
    └── NotPermitted        this device's certificate does not allow it
"""

from __future__ import annotations

from leeside_protocol.errors import WireError


class LeesideError(Exception):
    """Anything that this library raises on its own account."""


class Offline(LeesideError):
    """There is no live link, or it broke before an answer came. What was put into the outbox stays there."""


class Stopped(LeesideError):
    """The server closed the link with a code that says: do not connect again, tell the person (spec 90)."""

    def __init__(self, code: int, label: str) -> None:
        super().__init__(f"the server ended this device's link: {label} ({code})")
        self.code = code
        self.label = label


class Failed(LeesideError):
    """The client's background work broke, and nothing is sent or received any more. What was put into the outbox stays
    there: open the client again. The fault itself is raised where the client is closed."""

    def __init__(self) -> None:
        super().__init__("this client broke and must be opened again; what was not sent yet is kept")


class Refused(LeesideError):
    """The server refused a request and repeating it cannot help."""

    def __init__(self, code: WireError, detail: str = "", head: int = 0) -> None:
        super().__init__(f"{code.label}: {detail}" if detail else code.label)
        self.code = code
        self.detail = detail
        self.head = head


class OutboxFull(LeesideError):
    """So many messages wait to be sent that no more are taken. Wait until some are sent, or cancel some."""


class ChannelAlarmed(LeesideError):
    """Someone may be deceiving this channel: nothing is sent until a person decided. Talk by voice."""

    def __init__(self, code: str) -> None:
        super().__init__(f"sending is stopped in this channel: {code}")
        self.code = code


class ChannelUnknown(LeesideError):
    """There is no such channel, or this device is not in it."""


class NotPermitted(LeesideError):
    """This device's certificate does not hold what this needs, e.g. to admit someone."""
