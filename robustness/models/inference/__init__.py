"""What runs the forward passes: OpenVINO on the processor, or TensorFlow."""
