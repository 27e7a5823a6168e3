"""The relay: sockets and HTTP over the ports. It performs what core decides."""
