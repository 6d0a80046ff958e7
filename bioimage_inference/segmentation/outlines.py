"""Outlines of an object along the edges of its pixels, as polygons with holes.

An outline that follows pixel edges is exact: the pixels whose centres lie inside are the pixels of the object.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ring = NDArray[np.int64]
Vertex = tuple[int, int]


@dataclass(frozen=True)
class Polygon:
    """A polygon: ``outer`` and each of ``holes`` is a ring, an array of (x, y) with the first vertex not repeated.

    The first pixel of the mask has the corners (0, 0) and (1, 1).
    """

    outer: Ring
    holes: tuple[Ring, ...]

    def moved(self, x: int, y: int) -> "Polygon":
        """Return the polygon, moved by ``x`` columns and ``y`` rows."""
        by = np.array([x, y])
        return Polygon(self.outer + by, tuple(hole + by for hole in self.holes))


def outlines(mask: NDArray[np.bool_]) -> list[Polygon]:
    """Return a polygon for each part of a mask (axes yx) whose pixels touch each other at edges.

    Rings are simple: a ring that touches itself at a vertex is cut there.

    >>> [polygon.outer.tolist() for polygon in outlines(np.array([[True, True]]))]
    [[[0, 0], [2, 0], [2, 1], [0, 1]]]
    """
    from scipy.ndimage import label

    parts, count = label(mask)
    outer: dict[int, Ring] = {}
    holes: dict[int, list[Ring]] = {number: [] for number in range(1, count + 1)}
    for vertices in _rings(mask):
        ring = _without_straight_vertices(np.array(vertices))
        part = int(parts[_pixel_beside(vertices)])
        if _is_clockwise(ring):
            outer[part] = ring
        else:
            holes[part].append(ring)
    return [Polygon(outer[number], tuple(holes[number])) for number in range(1, count + 1)]


def _rings(mask: NDArray[np.bool_]) -> Iterator[list[Vertex]]:
    """Yield the vertices of every ring of pixel edges. The object lies to the right of each edge."""
    onward = _edges(mask)
    while onward:
        start = next(iter(onward))
        path, places = [start], {start: 0}
        before: Vertex | None = None
        while path[-1] in onward:
            here = path[-1]
            following = _next_vertex(onward, before, here)
            before = here
            if following not in places:
                places[following] = len(path)
                path.append(following)
                continue
            first = places[following]  # the path has come back to this vertex: what lies between is a ring
            yield path[first:]
            for vertex in path[first + 1 :]:
                del places[vertex]
            del path[first + 1 :]


def _edges(mask: NDArray[np.bool_]) -> dict[Vertex, list[Vertex]]:
    """Return the ends of the pixel edges that start at each vertex, with the object to the right."""
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    onward: dict[Vertex, list[Vertex]] = {}
    for beyond, start, end in (
        (padded[:-2, 1:-1], (0, 0), (1, 0)),
        (padded[1:-1, 2:], (1, 0), (1, 1)),
        (padded[2:, 1:-1], (1, 1), (0, 1)),
        (padded[1:-1, :-2], (0, 1), (0, 0)),
    ):
        rows, columns = np.nonzero(inside & ~beyond)
        for x, y in zip(columns.tolist(), rows.tolist(), strict=True):
            onward.setdefault((x + start[0], y + start[1]), []).append((x + end[0], y + end[1]))
    return onward


def _next_vertex(onward: dict[Vertex, list[Vertex]], before: Vertex | None, here: Vertex) -> Vertex:
    """Take the edge that goes on from a vertex. Of two edges it is the right turn, which stays with the same pixel."""
    ends = onward[here]
    if before is not None and len(ends) > 1:
        right = (here[0] - (here[1] - before[1]), here[1] + (here[0] - before[0]))
        ends.remove(right)
        return right
    end = ends.pop()
    if not ends:
        del onward[here]
    return end


def _without_straight_vertices(ring: Ring) -> Ring:
    forward, back = np.roll(ring, -1, axis=0) - ring, ring - np.roll(ring, 1, axis=0)
    turns: NDArray[np.bool_] = (forward != back).any(axis=1)
    return ring[turns]


def _is_clockwise(ring: Ring) -> bool:
    """Return whether a ring runs clockwise on the screen, where y points down, as outer rings do."""
    following = np.roll(ring, -1, axis=0)
    return bool((ring[:, 0] * following[:, 1] - ring[:, 1] * following[:, 0]).sum() > 0)


def _pixel_beside(ring: list[Vertex]) -> tuple[int, int]:
    """Return row and column of the pixel to the right of the first edge of a ring."""
    (x, y), (next_x, next_y) = ring[0], ring[1]
    step = next_x - x, next_y - y
    return {(1, 0): (y, x), (0, 1): (y, x - 1), (-1, 0): (y - 1, x - 1), (0, -1): (y - 1, x)}[step]
