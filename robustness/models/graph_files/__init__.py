"""Models in files that hold their own graph, asked about study images through OpenVINO."""
