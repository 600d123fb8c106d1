"""Run operations: plan, execute, resume, report."""
