"""Official releases converted to one layout (``image/``, ``label/``, ``series_meta.json``, ``dataset.json``)."""
