"""The viewer: three linked planes and a projection, labels over them, two volumes side by side."""
