"""One module a command: its parameters, its pure functions, its operation."""
