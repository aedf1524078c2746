"""What calls the user's cost, one module for each way."""
