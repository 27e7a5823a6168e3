"""Sealing: how content is encrypted end to end (spec chapter 04).

Two packages with an arrow between them, `opening -> public`:

- `public` is what an observer without keys can do: parse and verify directories, commits,
  grants and frame headers.  The server uses this, and only this.
- `opening` holds keys: boxes, frames, grants, records, attachments, media.  Devices use it.
"""
