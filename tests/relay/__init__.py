"""Tests of the relay: session, hub, sockets."""
