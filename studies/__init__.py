"""Scripts that write the tables of the documentation; each runs as `python -m studies.<name>`."""
