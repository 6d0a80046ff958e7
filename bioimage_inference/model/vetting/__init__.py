"""Checks TorchScript that nobody vouches for: its code may compute with tensors, and nothing else.

TorchScript is a program. Its operators read and write files and memory, and some of its code runs while it is loaded.
:func:`~.vetted_loading.load_vetted` parses the program first (:mod:`.source_code`), reads the pickles that hold its
objects (:mod:`.pickles`), and compares these with the classes that the program declares (:mod:`.declarations`). It
loads a fresh archive of what it checked. ``allowed_operations.tsv`` lists the operators that may be used
(:mod:`.operator_list`). Some of them get checks of their arguments (:mod:`.argument_checks`).
"""
