"""What J does along a few directions, recorded once, for any number of gradients."""
