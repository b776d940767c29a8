"""A federation as an app of Flower."""
