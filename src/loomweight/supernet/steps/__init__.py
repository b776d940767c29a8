"""Training steps: which subnets share a batch and how they learn from each other, a file for each."""
