"""How results look on a page."""
