"""The command line: parameters from argv, progress and results to the terminal."""
