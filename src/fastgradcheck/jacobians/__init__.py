"""Jacobians and Hessians: rows of F in the place of J."""
