"""Web servers of ITKIT: one guard around every application, its sockets, and paths that stay below a folder."""
