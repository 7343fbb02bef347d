"""One file an experiment: base.py holds every value, the others only what differs from it."""
