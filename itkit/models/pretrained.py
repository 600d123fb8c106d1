"""Released weights into our networks, with a report of what happened to every tensor."""
