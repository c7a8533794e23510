"""One file per metric family: predictions and references to numbers."""
