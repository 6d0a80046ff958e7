"""Settings of a whole process, for processes of this program's own: the command line, and the workers that it starts.

A call of the Python interface changes none of them.
"""

import logging

from .engine.allocator import manage


def set_up_process() -> None:
    """Keep big buffers for the next tile, and silence tifffile, whose remarks this program gives in its own words."""
    manage()
    logging.getLogger("tifffile").addHandler(logging.NullHandler())
