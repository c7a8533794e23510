"""One file for each paper and data set, each with ``main()``: the only place that joins everything for training."""
