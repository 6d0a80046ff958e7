"""Checks TorchScript that nobody vouches for: its code may compute with tensors, and nothing else.

TorchScript is a program. Its operators read and write files and memory, and some of its code runs during loading. So
:func:`~.vetted_loading.load_vetted` first parses the program (:mod:`.source_code`), reads the pickles with its objects
(:mod:`.pickles`), and compares the objects with the classes that the program declares (:mod:`.declarations`). It loads
a fresh archive of the checked parts. ``allowed_operations.tsv`` lists the allowed operators. Some operators get checks
of their arguments (:mod:`.argument_checks`).
"""
