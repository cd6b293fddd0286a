"""All that uses Keras or TensorFlow; the rest of ``models`` calls it and imports neither."""
