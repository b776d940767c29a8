"""Losses by which a subnet learns from the largest one: (its outputs, the largest one's outputs) -> mean."""
