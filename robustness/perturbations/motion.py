"""Blur by movement and by structured glass: motion, zoom and glass blur."""
