"""Every model becomes one graph of OpenVINO over study images."""
