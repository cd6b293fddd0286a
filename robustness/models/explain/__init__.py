"""Where a model looks: heat maps of the evidence for a class, and overlays of them on images.

Nothing here imports TensorFlow until a map is asked for.
"""

from robustness.models.explain.gradcam import HeatMaps, heat_maps
from robustness.models.explain.overlay import colour_bar, colours, overlay

__all__ = ["HeatMaps", "colour_bar", "colours", "heat_maps", "overlay"]
