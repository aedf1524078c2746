"""What the evidence says against tolerances and the claim; evaluates nothing."""
