"""Elastic deformation."""
