"""Where the camera stands and what is in its way: shift, scale, perspective, occlusion."""
