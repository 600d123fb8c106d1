"""One module for each command: its parameters, its pure functions and its operation."""
