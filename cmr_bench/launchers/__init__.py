"""What Hydra starts: launchers, and what happens when a run or a sweep ends."""
