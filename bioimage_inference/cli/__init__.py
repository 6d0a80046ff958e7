"""The command line ``bioimage-inference COMMAND``. Each command has a file with its parser, progress and printing."""

from .program import main, run

__all__ = ["main", "run"]
