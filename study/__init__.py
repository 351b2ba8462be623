"""Which network next: the trials, who takes them, and what is kept of them. Knows searchspace, trainers, hardware, Optuna."""
