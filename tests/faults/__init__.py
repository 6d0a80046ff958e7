"""Runs that are killed, full disks, little memory, changing inputs, many runs at once: what is promised then."""
