"""A run of ``predict`` over one or many images.

::

    sample_sheet   which images, with their metadata
    output_files   the names of the outputs of each image
    batch_run      the setting of a run: checks of files, sandbox, cluster, crate
    all_images     the loop over images
    one_image      the steps for one image; resume finds the images whose steps are done
    tables         summary.csv and objects.csv; index_page writes index.html, with thumbnails
"""
