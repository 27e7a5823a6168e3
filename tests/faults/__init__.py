"""Faults on purpose: kill, cut, fill, stall and flood a real server, then check what it had promised."""
