"""Colour and contrast: saturation, hue, white balance, reduced contrast."""
