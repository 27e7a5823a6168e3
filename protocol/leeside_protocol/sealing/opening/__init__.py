"""What holds keys: boxes, frames, grants, records, attachments, media.  The server never imports it.

Random bytes are arguments (`Random`), except for the ephemeral key of an HPKE
encapsulation, which the `cryptography` library draws from the operating system itself.
"""
