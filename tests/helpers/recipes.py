"""Settings of the released recipes."""

from advnets.convolutions import ConvolutionSpec

CIFAR10 = (
    ConvolutionSpec(32, 2, kernel_size=8, padding=4, pool_size=4, pool_stride=2),
    ConvolutionSpec(32, 2, kernel_size=8, padding=3, pool_size=4, pool_stride=2),
    ConvolutionSpec(192, 2, kernel_size=5, padding=3, pool_size=2, pool_stride=2),
)
