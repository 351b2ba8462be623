"""What it means: numbers in, words and figures out. Knows no torch and no training; storage is read by records.py alone, by way
of opening.py and stored.py."""
