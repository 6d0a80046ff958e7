"""Colours for label maps: black for the background, and colours that differ as much as possible for the labels.

The order follows C. A. Glasbey et al., Colour displays for categorical images, Color Research & Application 32 (2007):
each colour is the candidate that is farthest from all colours before it. So the first labels differ most.
"""

from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

# Entries of a look-up table in ImageJ.
COLOURS = 256
_LEVELS = tuple(range(0, 256, 17))  # of red, green and blue of a candidate: 16^3 candidates
_DARKEST = 35  # the least lightness (CIE L*, from 0 to 100) that is easy to see on a black background


@cache
def label_colours() -> NDArray[np.uint8]:
    """Return a row of red, green and blue for each of 256 labels; row 0 is black, for the background."""
    from skimage.color import rgb2lab

    candidates = np.array([*product(_LEVELS, repeat=3)], np.uint8)
    # Rounded, so that every machine finds the same order.
    lab = rgb2lab(candidates / 255).round(3)
    visible = lab[:, 0] >= _DARKEST
    candidates, lab = candidates[visible], lab[visible]
    chosen: list[int] = []
    distance = np.linalg.norm(lab, axis=1).round(3)  # to black
    while len(chosen) < COLOURS - 1:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(lab - lab[chosen[-1]], axis=1).round(3))
    return np.concatenate([np.zeros((1, 3), np.uint8), candidates[chosen]])
