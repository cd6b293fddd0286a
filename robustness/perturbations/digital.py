"""What files and screens do: pixelation, compression, low resolution."""
