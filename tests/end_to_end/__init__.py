"""The program as users run it: commands, processes, pages, packages."""
