"""What the documentation is made of at build time: pages of commands and of Python, examples that run, and pictures."""
