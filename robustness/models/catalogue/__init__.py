"""The models of the catalogue, and the Keras networks that they are built of."""

from robustness.models.catalogue import imagenet_model_registration

__all__ = ["imagenet_model_registration"]
