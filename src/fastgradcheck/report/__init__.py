"""Render a result as text, JSON, HTML or pictures; compute nothing."""
