"""From an operation and its parameters to files: plan, execute, resume, report."""
