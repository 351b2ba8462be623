"""What it means: numbers in, words and figures out. Knows no torch and no training; storage is read in records.py only."""
