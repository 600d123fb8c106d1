"""Phantoms and contracts, shipped so that extensions can be tested as ITKIT's own operations and networks are."""
