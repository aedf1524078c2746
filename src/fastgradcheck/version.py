"""The version, which reports and checkpoints state."""

__version__ = "0.1.0"
