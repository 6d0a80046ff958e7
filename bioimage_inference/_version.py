"""The version of the program; packaging reads it here."""

__version__ = "2.5.0"
