"""Each room of the package with files, models and networks of every kind."""
