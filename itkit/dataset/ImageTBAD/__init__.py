"""ImageTBAD."""
