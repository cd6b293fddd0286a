"""Weight files: where they are, whether they are whole, and how they are fetched."""
