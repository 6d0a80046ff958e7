"""Tests on other versions of Python and of the libraries than those at hand; ``python -m tests.versions``."""
