"""What benchmarks and tests share: synthetic data, stand-ins for models, a server and a browser."""
