"""How weights get here: where they lie, how they are fetched, and whether they are right."""
