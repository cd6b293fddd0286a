"""A graph runs: compiled, or replayed in TensorFlow."""
