"""Data sets as typed examples, and the gym that draws video with exact ground truth."""
