"""`itkit-web`: the operations, their runs and a viewer in a browser."""
