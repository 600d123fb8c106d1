"""MMEngine: ``mmrun``, segmentors, data elements, metrics and plug-ins for configurations of MMEngine.

`itkit.mm.run` is the queue of experiments, `itkit.mm.mmeng_PlugIn` holds hooks, loops and wrappers for any MMEngine
configuration, `itkit.mm.mgam_models` the segmentors. Importing the package imports neither torch nor MMEngine.
"""
