"""Parts that several networks share, one topic a module."""
