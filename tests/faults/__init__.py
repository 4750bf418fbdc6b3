"""What is promised of runs, attacked: `python -m faults EXPERIMENT` from the folder `tests`."""
