"""The user's own models: declared in ``models.toml``, tried out and added."""
