"""What is checked: theta, its names, the cost and the claimed gradient."""
