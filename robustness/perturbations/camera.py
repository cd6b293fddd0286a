"""What a camera does: exposure, gamma, vignetting, chromatic aberration, flicker bands."""
