"""The systems that the paper compares itself with in Table 1 and Table 2."""

from advnets.baselines import gsn as gsn
