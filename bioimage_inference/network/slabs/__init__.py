"""Computes a network slab by slab: of every layer a few rows at a time, which are kept while they are needed.

The result is that of the network on the whole tile, the memory a fraction. ``recording`` lists what the network does to
a tile of a given shape, with ``operations`` from torch's calls to ``layers``, which know the rows that each of them
reads; ``schedule`` says in which order rows are computed and how long they are kept, and ``slab_network`` does so.
"""


class NotInSlabs(Exception):
    """A network, or an operation of one, that cannot be computed in slabs; says why."""
