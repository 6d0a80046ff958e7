"""A plugin of the image viewer napari: a widget that predicts a layer. ``napari.yaml`` is what napari reads first."""
