"""Samplers: which subnets are trained, a file for each."""
