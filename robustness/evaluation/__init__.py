"""Requests, conditions, and the loop that measures models on perturbed images."""
