"""Tables of what travels."""
