"""Geometry, formulas and rules, with values computed by hand and by hypothesis."""
