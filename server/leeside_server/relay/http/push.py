"""Push subscriptions: where a device without a socket is told that something waits (spec 03, "Push")."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey

from leeside_protocol import resources as r
from leeside_protocol.errors import ProtocolError, WireError
from leeside_server.core.identity import DeviceRow, check_device, with_push, without_push
from leeside_server.core.rows import change
from leeside_server.core.writes import Part
from leeside_server.relay.http.call import Call
from leeside_server.relay.http.endpoint import Handler


async def push_key(call: Call) -> r.PushKey:
    """GET /v1/push/key."""
    return r.PushKey(call.host.push.key)


async def put_push(call: Call) -> None:
    """PUT /v1/push/subscription: in the place of the one before."""
    body = call.body(r.PushSubscription)
    if not call.host.push.permits(body.endpoint):
        raise ProtocolError(WireError.FORBIDDEN, "this server pushes nothing there")
    try:
        EllipticCurvePublicKey.from_encoded_point(SECP256R1(), body.p256dh)
    except ValueError:
        raise ProtocolError(WireError.INVALID, "`p256dh` is no key") from None
    await _change(call, lambda row: with_push(row, body.endpoint, body.p256dh, body.auth))


async def delete_push(call: Call) -> None:
    """DELETE /v1/push/subscription; there need be none."""
    await _change(call, without_push)


async def _change(call: Call, changed: Callable[[DeviceRow], DeviceRow]) -> None:
    async def decide() -> tuple[Sequence[Part], None]:
        agency, device = call.actor.agency, call.actor.device
        held = await call.need(DeviceRow, device)
        check_device(held.row)
        row = changed(held.row)
        if row == held.row:
            return (), None
        probing = await call.host.probes.subscribed(agency, device, row) if row.push_endpoint else ()
        return (change(held, row), *probing), None

    await call.write_anew(call.actor.agency, decide)


HANDLERS: Final[Mapping[str, Handler]] = {
    "push_key": push_key,
    "put_push": put_push,
    "delete_push": delete_push,
}
