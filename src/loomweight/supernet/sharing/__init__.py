"""Less sharing: which configurations use which weights, a file for each way of deciding it."""
