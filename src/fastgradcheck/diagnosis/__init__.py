"""What is probably wrong, and what was covered."""
