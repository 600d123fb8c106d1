"""The parts of `itkit.mm.mmeng_PlugIn`: hooks, loops, wrappers, a strategy, a collate function, optimisers."""
