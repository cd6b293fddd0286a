"""The models of the catalogue, and the Keras networks that they are built of."""

from robustness.models.catalogue import imagenet_models

__all__ = ["imagenet_models"]
