"""The systems that the paper compares adversarial nets with (Tables 1 and 2)."""

from advnets.baselines import gsn as gsn
