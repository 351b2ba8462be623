"""One net trained, `train.py`: its stages, its controls, what it decides."""
