"""`itkit-app`: windows on the engine, in PyQt6. They draw what `itkit.forms` describes."""
