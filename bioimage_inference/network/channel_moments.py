"""Mean and variance of the channels of a tensor, for group and instance normalisation."""

import torch

# Number of values added up in float32 before their sum goes on in float64.
_SUMMED = 256


class ChannelMoments:
    """Mean and variance of each channel of one sample, in float64, of rows as they come.

    Partial results are put together as by Chan, Golub and LeVeque (1983, The American Statistician 37, 242).
    """

    def __init__(self) -> None:
        self._count = 0
        self._mean = self._squares = torch.zeros(())

    def add(self, rows: torch.Tensor) -> None:
        """More rows of the same channels."""
        values = rows.movedim(1, -1).reshape(-1, rows.shape[1])
        count = len(values)
        mean = _sum(values) / count
        rounded = mean.to(values.dtype)
        squares = _sum((values - rounded).square_()) - count * (mean - rounded) ** 2
        if self._count:
            total, apart = self._count + count, mean - self._mean
            squares = self._squares + squares + apart**2 * (self._count * count / total)
            mean = self._mean + apart * (count / total)
        self._count, self._mean, self._squares = self._count + count, mean, squares

    def of_groups(self, groups: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and variance of the group that each channel belongs to."""
        channels = len(self._mean)
        means, variances = (one.reshape(groups, -1) for one in (self._mean, self._squares / self._count))
        mean = means.mean(1, keepdim=True)
        variance = (variances + (means - mean) ** 2).mean(1, keepdim=True)
        repeats = channels // groups
        return mean.expand(-1, repeats).reshape(-1), variance.expand(-1, repeats).reshape(-1)


def _sum(values: torch.Tensor) -> torch.Tensor:
    """The sum along the first of two axes in float64; a product of matrices adds several times faster than ``sum``."""
    whole = len(values) // _SUMMED * _SUMMED
    parts = values.new_ones(_SUMMED) @ values[:whole].reshape(-1, _SUMMED, values.shape[1])
    return parts.sum(0, dtype=torch.float64) + values[whole:].sum(0, dtype=torch.float64)
