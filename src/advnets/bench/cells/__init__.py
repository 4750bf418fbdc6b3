"""Table 2's rows, a module each: what is measured of a trained system for every cell."""
