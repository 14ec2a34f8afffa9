"""One file for each data set that `data.load` knows."""
