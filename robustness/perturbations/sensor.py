"""Noise of other kinds than the study's: shot, impulse and speckle noise."""
