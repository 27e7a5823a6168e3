"""Core's rules, as tables."""
