"""The configuration: one group a folder, the typed keys (schema.py) and the command line around them (command.py)."""
