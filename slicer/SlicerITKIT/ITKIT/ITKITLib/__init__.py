"""What the module does apart from its widgets; it needs nothing of Slicer."""
