"""What `./dev` does, in plain standard-library Python: it runs before anything is installed.

Nothing here is imported by server, protocol or client library. `tests/support` imports `services`.
"""
