"""Leeside for Python: the client library and the command line for people."""
