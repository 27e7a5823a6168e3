"""The HTTP half: management, sign-in, signed objects, attachments. One handler for each route of the protocol.

`routes` gives what the relay's application mounts. All handlers go through `endpoint`, which limits, authenticates,
reads and decodes, so that a handler holds nothing but its own decision.
"""

from leeside_server.relay.http.host import Host
from leeside_server.relay.http.mount import routes
from leeside_server.relay.http.settings import HttpSettings, OidcSettings

__all__ = ["Host", "HttpSettings", "OidcSettings", "routes"]
