"""The engine of all converters: from a declaration to cases, and from cases to one layout."""
