"""OpenVINO's graphs in TensorFlow, operation by operation: gradients for any model."""
