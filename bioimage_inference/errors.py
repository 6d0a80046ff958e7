"""Every failure a user can meet, one class per exit code of the command line.

::

    BioimageInferenceError          1   a bug of ours, when raised as it is
    ├── UsageError                  2   the command line, or a place to write, is wrong
    │   └── OutputError             2   the outputs cannot be written (folder, disk full)
    ├── TrustError                  3   the model would run code that nobody vouched for
    ├── ModelError                  4   the model is broken or not supported
    ├── ImageError                  5   the image is broken or does not fit the model
    ├── OutOfMemoryError            6   too little memory for the program or the smallest legal tile
    └── ReproductionError           7   outputs differ from those published with the model, or recorded

The text of an error is one plain paragraph: what was found, what was expected, what to do instead.
"""

from typing import ClassVar


class BioimageInferenceError(Exception):
    """Root of the tree; ``exit_code`` is what the command line returns for it."""

    exit_code: ClassVar[int] = 1


class UsageError(BioimageInferenceError):
    """Options that contradict each other, are malformed, or name what does not exist."""

    exit_code = 2


class OutputError(UsageError):
    """The place named for the outputs cannot be written: missing rights, no such folder, full disk."""


class TrustError(BioimageInferenceError):
    """The model brings code or weights that the trust policy does not let run."""

    exit_code = 3


class ModelError(BioimageInferenceError):
    """The model package is broken, incomplete, or needs what this program does not support."""

    exit_code = 4


class ImageError(BioimageInferenceError):
    """The image cannot be read, or does not fit the model."""

    exit_code = 5


class OutOfMemoryError(BioimageInferenceError):
    """The budget is too small for the program, or not even the smallest tile that the model allows fits."""

    exit_code = 6


class ReproductionError(BioimageInferenceError):
    """The model runs, but its outputs are not those that were published with it, or that a record names."""

    exit_code = 7
