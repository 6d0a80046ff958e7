"""Mutated images, descriptions and packages: ``python -m tests.fuzz`` runs many, ``test_fuzz.py`` some."""
