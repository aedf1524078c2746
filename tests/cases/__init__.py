"""Networks, faults, released gradients and oracles that the tests and studies share."""
