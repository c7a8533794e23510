"""saccade finds, grounds and describes what happens in video."""
