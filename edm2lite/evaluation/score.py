"""What a metric says about one block of images. Imports no torch."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Score:
    """A metric of one block of images.

    Attributes:
        value: The metric.
        num_images: Images it was computed from (N).
        se: Delete-group jackknife standard error over images; None where there is none.
        extrapolated: The value for infinitely many images, where the metric is biased (Frechet distances); else None.
        details: Parts of it, such as each class's value, by name.
        leave_one_out: The value without each of the jackknife's groups, behind `se`; two scores of common seeds are compared
            group by group. Empty where there is no `se`.
    """

    value: float
    num_images: int
    se: float | None = None
    extrapolated: float | None = None
    details: dict[str, float] = field(default_factory=dict)
    leave_one_out: tuple[float, ...] = ()
