"""What lies between scene and lens: snow, frost, spatter."""
