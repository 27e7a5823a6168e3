"""Rules as functions of (state, input, now): no IO, no clock, no randomness, no tasks.

What a rule wants done it returns as frozen data; `relay.perform` carries it out through the ports.
"""
