"""`measure.py`, and what the lecture's tables need counted and timed."""
