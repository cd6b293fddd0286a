"""The models of the catalogue, and the Keras networks that they are built of."""

from robustness.models.catalogue import records

__all__ = ["records"]
