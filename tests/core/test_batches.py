"""Batches: pytrees of one length."""

import jax.numpy as jnp
import numpy as np
import pytest

from advnets import batches


@pytest.mark.parametrize(
    "batch",
    [np.zeros((5, 2)), jnp.zeros(5), (np.zeros((5, 2)), np.zeros(5)), {"x": [np.zeros((5, 1))]}],
)
def test_the_length_is_that_of_every_leaf(batch):
    assert batches.length(batch) == 5


def test_a_tuple_is_arguments_and_anything_else_is_one():
    image, label = np.zeros((5, 2)), np.zeros(5)
    assert batches.parts((image, label)) == (image, label)
    for one in (image, [image, label], {"image": image}):
        (same,) = batches.parts(one)
        assert same is one


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ((), "at least one array; got none"),
        (np.zeros(()), "needs a leading axis; the array is a scalar"),
        ((np.zeros(5), np.zeros(())), r"needs a leading axis; \[1\] is a scalar"),
        ((np.zeros(5), np.zeros(4)), r"same number of rows; \[0\] has 5 and \[1\] has 4"),
        ({"image": np.zeros(5), "mask": np.zeros(4)}, r"\['image'\] has 5 and \['mask'\] has 4"),
    ],
)
def test_what_is_no_batch_is_refused(batch, message):
    with pytest.raises(ValueError, match=message):
        batches.length(batch)
