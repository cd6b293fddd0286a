"""A result of each kind made into a ``Report``: an attack, a live view, a run, ..."""
