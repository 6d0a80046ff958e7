"""``python -m bioimage_inference`` is the same program as ``bioimage-inference``."""

from .cli import run

if __name__ == "__main__":
    run()
