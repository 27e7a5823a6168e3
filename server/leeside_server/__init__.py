"""The Leeside relay server: carries sealed messages, keeps what it acknowledged, and can read none of it."""
