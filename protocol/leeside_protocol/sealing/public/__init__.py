"""What an observer without keys can do: parse and verify.  The server uses this, and only this.

Nothing here holds a private key, opens a box, or decrypts.  Start with `Directory`,
`ChannelLine`, `verify_commit`, `verify_boxes`, `verify_grant`, `parse_frame`, `check_frame`.
"""
