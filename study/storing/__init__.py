"""Where trials are kept so that any number of processes and machines may come and go: opening, waiting, writing, who lives."""
