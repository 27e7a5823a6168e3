"""Every HTTP route, once: the server's routing, the SDK's calls and the OpenAPI are made from this table.

`{id}` in a path is 32 lowercase hexadecimal digits. Listings take `after` (a cursor) and `limit` (1-500).
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from leeside_protocol import oncall as o
from leeside_protocol import resources as r
from leeside_protocol.messages import Batch

Access = Literal["open", "operator", "device"]
"""`open`: nobody is asked. `operator`: the operator's one-time code. `device`: a session token."""


class Route(msgspec.Struct, frozen=True):
    """One operation: `request` None means no body; `response` None means 204."""

    name: str
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    access: Access
    summary: str
    request: type[Any] | None = None
    response: type[Any] | None = None
    media: str = r.JSON
    query: tuple[str, ...] = ()
    listing: bool = False
    """The response is a MessagePack array of `response`."""
    status: int = 200


_PAGE: Final = ("after", "limit")
_WINDOW: Final = ("from_ms", "until_ms", "zone")

ROUTES: Final[tuple[Route, ...]] = (
    Route("server", "GET", "/v1/server", "open", "What a client needs before it signs in.", None, r.ServerInfo),
    Route("create_agency", "POST", "/v1/agencies", "operator", "Create an agency.", r.NewAgency, r.Agency, status=201),
    Route("redeem", "POST", "/v1/enrolments", "open", "Present a one-time code and new keys.", r.Redeem, r.Enrolled, status=201),
    Route("oidc_enrolment", "POST", "/v1/oidc/enrolments", "open", "A one-time code for whom the agency's own sign-in knows.", r.TicketPost, r.EnrolmentCode, status=201),
    Route("challenge", "POST", "/v1/challenges", "open", "Ask for a nonce to sign.", r.ChallengeRequest, r.ChallengeAnswer, status=201),
    Route("sign_in", "POST", "/v1/sessions", "open", "Sign in with a device's key.", r.SessionRequest, r.SessionTokens, status=201),
    Route("person_options", "POST", "/v1/sessions/options", "open", "What shows the person at a device.", r.SessionRequest, r.PersonOptions),
    Route("refresh", "POST", "/v1/sessions/refresh", "open", "Trade a refresh secret for a new token.", r.RefreshRequest, r.SessionTokens, status=201),
    Route("sign_out", "DELETE", "/v1/sessions/current", "device", "End this session on every node.", status=204),
    Route("agency", "GET", "/v1/agency", "device", "My agency.", None, r.Agency),
    Route("change_agency", "PATCH", "/v1/agency", "device", "Change what shows the person at a device.", r.AgencyChange, r.Agency),
    Route("me", "GET", "/v1/me", "device", "My member.", None, r.Member),
    Route("members", "GET", "/v1/members", "device", "List members.", None, r.Members, query=_PAGE),
    Route("create_member", "POST", "/v1/members", "device", "Create a member.", r.NewMember, r.Member, status=201),
    Route("member", "GET", "/v1/members/{id}", "device", "One member.", None, r.Member),
    Route("change_member", "PATCH", "/v1/members/{id}", "device", "Change roles or end a membership.", r.MemberChange, r.Member),
    Route("create_enrolment", "POST", "/v1/members/{id}/enrolments", "device", "A one-time code for a new device.", r.NewEnrolment, r.EnrolmentCode, status=201),
    Route("devices", "GET", "/v1/devices", "device", "List devices.", None, r.Devices, query=(*_PAGE, "state")),
    Route("device", "GET", "/v1/devices/{id}", "device", "One device and its newest DeviceKey.", None, r.DeviceInfo),
    Route("revoke_device", "POST", "/v1/devices/{id}/revoke", "device", "Refuse a device at once, on every node.", None, r.DeviceInfo),
    Route("put_device_key", "PUT", "/v1/devices/me/key", "device", "Publish my newest DeviceKey.", r.PutDeviceKey, r.DeviceInfo),
    Route("passkeys", "GET", "/v1/passkeys", "device", "My passkeys.", None, r.Passkeys),
    Route("passkey_options", "POST", "/v1/passkeys/options", "device", "Begin to register a passkey.", None, r.PasskeyOptions),
    Route("add_passkey", "POST", "/v1/passkeys", "device", "Register a passkey.", r.PasskeyPost, r.Passkey, status=201),
    Route("delete_passkey", "DELETE", "/v1/passkeys/{id}", "device", "Forget one of my passkeys.", status=204),
    Route("forget_passkeys", "DELETE", "/v1/members/{id}/passkeys", "device", "Forget a member's passkeys, which are lost.", status=204),
    Route("push_key", "GET", "/v1/push/key", "device", "What a push subscription is bound to.", None, r.PushKey),
    Route("put_push", "PUT", "/v1/push/subscription", "device", "Where this device can be told that something waits.", r.PushSubscription, status=204),
    Route("delete_push", "DELETE", "/v1/push/subscription", "device", "Push nothing to this device.", status=204),
    Route("directory", "GET", "/v1/directory", "device", "Signed directory entries behind `after`.", None, bytes, r.MSGPACK, _PAGE, listing=True),
    Route("post_directory", "POST", "/v1/directory", "device", "Append signed directory entries.", r.DirectoryPost, None, r.MSGPACK, status=204),
    Route("units", "GET", "/v1/units", "device", "List units.", None, r.Units, query=_PAGE),
    Route("create_unit", "POST", "/v1/units", "device", "Create a unit.", r.NewUnit, r.Unit, status=201),
    Route("unit", "GET", "/v1/units/{id}", "device", "One unit.", None, r.Unit),
    Route("change_unit", "PATCH", "/v1/units/{id}", "device", "Change or end a unit.", r.UnitChange, r.Unit),
    Route("incidents", "GET", "/v1/incidents", "device", "List incidents.", None, r.Incidents, query=_PAGE),
    Route("open_incident", "POST", "/v1/incidents", "device", "Open an incident with its operations channel.", r.IncidentPost, r.CommitAnswer, r.MSGPACK, status=201),
    Route("incident", "GET", "/v1/incidents/{id}", "device", "One incident.", None, r.Incident),
    Route("change_incident", "PATCH", "/v1/incidents/{id}", "device", "Change an incident; closing archives its channels.", r.IncidentChange, r.Incident),
    Route("duty", "GET", "/v1/oncall/me", "device", "Whether this device takes pages, and what its tests and probes found.", None, o.Duty),
    Route("put_duty", "PUT", "/v1/oncall/me", "device", "Let this device take pages, or not.", o.DutyPut, o.Duty),
    Route("test_page", "POST", "/v1/oncall/test", "device", "Page this device, to see that it works.", None, o.TestPage, status=201),
    Route("page", "GET", "/v1/pages/{id}", "device", "How far a page came.", None, o.PageReceipts),
    Route("page_receipt", "POST", "/v1/pages/{id}/receipt", "open", "A page came here, or was seen.", o.ReceiptPost, status=204),
    Route("create_consult", "POST", "/v1/consults", "device", "Request a consult with its sealed channel.", o.ConsultPost, r.CommitAnswer, r.MSGPACK, status=201),
    Route("consults", "GET", "/v1/consults", "device", "Consults that concern me, `state` active or ended.", None, o.Consults, query=(*_PAGE, "state")),
    Route("figures", "GET", "/v1/consults/figures", "device", "How long consults waited, in a window and by a zone's hours.", None, o.Figures, query=_WINDOW),
    Route("figures_csv", "GET", "/v1/consults/figures.csv", "device", "The same as CSV.", None, bytes, "text/csv; charset=utf-8", query=_WINDOW),
    Route("consult", "GET", "/v1/consults/{id}", "device", "One consult.", None, o.Consult),
    Route("consult_action", "POST", "/v1/consults/{id}/actions", "device", "Accept, decline, hold, escalate, join, end and so on.", o.ConsultAction, o.Consult),
    Route("records", "GET", "/v1/records", "device", "How long each incident's records stay.", None, r.RecordsStates, query=_PAGE),
    Route("incident_records", "GET", "/v1/incidents/{id}/records", "device", "How long one incident's records stay.", None, r.RecordsState),
    Route("hold_records", "POST", "/v1/incidents/{id}/records/hold", "device", "Keep an incident's records, whatever retention says.", r.HoldPost, r.RecordsState),
    Route("release_records", "POST", "/v1/incidents/{id}/records/release", "device", "End a legal hold.", r.HoldPost, r.RecordsState),
    Route("shred_records", "POST", "/v1/incidents/{id}/records/shred", "device", "Destroy what is left of an ended incident.", r.ShredPost, r.RecordsState),
    Route("channels", "GET", "/v1/channels", "device", "Channels that this device is in.", None, r.Channels, query=_PAGE),
    Route("create_channel", "POST", "/v1/channels", "device", "Open a channel with its genesis.", r.ChannelPost, r.CommitAnswer, r.MSGPACK, status=201),
    Route("channel", "GET", "/v1/channels/{id}", "device", "One channel.", None, r.ChannelInfo),
    Route("archive_channel", "POST", "/v1/channels/{id}/archive", "device", "Take a channel out of service; its log stays.", None, r.ChannelInfo),
    Route("post_commit", "POST", "/v1/channels/{id}/commits", "device", "The next epoch, by compare-and-set.", r.CommitPost, r.CommitAnswer, r.MSGPACK, status=201),
    Route("boxes", "GET", "/v1/channels/{id}/boxes", "device", "My boxes of epochs at or above `from_epoch`; a records officer's of `recipient`.", None, r.EpochBoxes, r.MSGPACK, ("from_epoch", "limit", "recipient"), listing=True),
    Route("post_grant", "POST", "/v1/channels/{id}/grants", "device", "Store a signed history grant.", r.GrantPost, None, r.MSGPACK, status=204),
    Route("post_archive", "POST", "/v1/channels/{id}/archives", "device", "Store an ended incident's secrets, sealed to a records key.", r.ArchivePost, None, r.MSGPACK, status=204),
    Route("log", "GET", "/v1/logs/{address}", "device", "A page of a log (34 hexadecimal digits name it).", None, Batch, r.MSGPACK, _PAGE),
    Route("create_blob", "POST", "/v1/channels/{id}/blobs", "device", "Announce an attachment.", r.NewBlob, r.Blob, status=201),
    Route("blob", "GET", "/v1/blobs/{id}", "device", "What of an attachment stands.", None, r.Blob),
    Route("put_chunk", "PUT", "/v1/blobs/{id}/chunks/{index}", "device", "Store one sealed chunk.", bytes, None, "application/octet-stream", status=204),
    Route("chunk", "GET", "/v1/blobs/{id}/chunks/{index}", "device", "One sealed chunk.", None, bytes, "application/octet-stream"),
    Route("create_guest", "POST", "/v1/consults/{id}/guests", "device", "A link for a guest of a consult.", o.NewGuest, o.GuestLink, status=201),
    Route("guests", "GET", "/v1/consults/{id}/guests", "device", "Guests of a consult, and their links.", None, o.Guests),
    Route("take_guest_link", "POST", "/v1/guests", "open", "Come by a guest's link, with new keys.", o.GuestPost, o.GuestTaken, status=201),
    Route("guest", "GET", "/v1/guests/{id}", "device", "One guest.", None, o.Guest),
    Route("end_guest", "DELETE", "/v1/guests/{id}", "device", "End a guest's link, and refuse its device at once.", status=204),
    Route("on_call", "GET", "/v1/oncall", "device", "Who is on call now, and what the next 24 hours lack.", None, o.OnCall),
    Route("rotas", "GET", "/v1/rotas", "device", "List rotas.", None, o.Rotas, query=_PAGE),
    Route("create_rota", "POST", "/v1/rotas", "device", "Create a rota.", o.NewRota, o.Rota, status=201),
    Route("rota", "GET", "/v1/rotas/{id}", "device", "One rota.", None, o.Rota),
    Route("change_rota", "PATCH", "/v1/rotas/{id}", "device", "Change or end a rota; cover, swap, be absent.", o.RotaChange, o.Rota),
    Route("schedule", "GET", "/v1/rotas/{id}/schedule", "device", "Who is on call in a window of time.", None, o.Schedule, query=("from_ms", "until_ms")),
    Route("import_calendar", "POST", "/v1/rotas/{id}/import", "device", "Take the shifts of an iCalendar file over.", o.CalendarImport, o.Rota),
    Route("create_feed", "POST", "/v1/rotas/{id}/feeds", "device", "A live calendar under a secret address.", o.NewFeed, o.Feed, status=201),
    Route("end_feeds", "DELETE", "/v1/rotas/{id}/feeds", "device", "End the addresses of a rota's calendar.", status=204),
    Route("ladders", "GET", "/v1/ladders", "device", "List escalation policies.", None, o.Ladders, query=_PAGE),
    Route("create_ladder", "POST", "/v1/ladders", "device", "Create an escalation policy.", o.NewLadder, o.Ladder, status=201),
    Route("ladder", "GET", "/v1/ladders/{id}", "device", "One escalation policy.", None, o.Ladder),
    Route("change_ladder", "PATCH", "/v1/ladders/{id}", "device", "Change or end an escalation policy.", o.LadderChange, o.Ladder),
    Route("ladder_roster", "GET", "/v1/ladders/{id}/roster", "device", "Who a consult's first roster must hold.", None, o.LadderRoster, query=("language",)),
    Route("security_events", "GET", "/v1/security-events", "device", "What happened to access, append-only.", None, r.SecurityEvents, query=_PAGE),
)  # fmt: skip

BY_NAME: Final = {route.name: route for route in ROUTES}
