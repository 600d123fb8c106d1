"""CTSpine1K."""
