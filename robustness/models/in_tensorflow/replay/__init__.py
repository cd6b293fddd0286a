"""OpenVINO's graphs in TensorFlow, operation by operation: what gives any model file gradients."""
