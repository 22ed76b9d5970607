"""Pseudo-healthy vertebra synthesis and relative height loss from CT. See docs/method.md."""

__version__ = "0.1.0"
