"""Computes a network slab by slab: a few rows of every layer at a time, which are kept only while they are needed.

The result is the result on the whole tile, in a fraction of the memory. ``recording`` lists the operations of a network
on a tile of a given shape. ``slab_operations`` turns torch's calls into ``layers``, which know the rows that they read.
``schedule`` orders the computation, and ``slab_network`` runs it.
"""


class NotInSlabs(Exception):
    """A network, or one of its operations, cannot be computed in slabs. The text names the reason."""
