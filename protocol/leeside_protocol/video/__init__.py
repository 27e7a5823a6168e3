"""Video (spec 09): what the bridge and its clients say to each other, and how sealed media lies in packets.

Nothing here holds a key: what opens media is in `leeside_protocol.sealing.opening.media`, which the server never imports.
"""
