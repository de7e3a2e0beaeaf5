"""Learning rate by the number of images seen (Karras et al. 2024a, Eq. 67)."""


def learning_rate(nimg: float, batch_size: int, ref_lr: float, ref_batches: float, rampup_nimg: float) -> float:
    """Linear warm-up, then constant, then inverse square root: lr = ref_lr * min(nimg/rampup, 1) / sqrt(max(t, 1)).

    Args:
        nimg: Images seen before the step.
        batch_size: Images a step.
        ref_lr: Peak learning rate.
        ref_batches: Steps until the decay begins, t = nimg / (ref_batches batch_size); 0: no decay.
        rampup_nimg: Length of the warm-up in images; 0: none.
    """
    lr = ref_lr
    if ref_batches > 0:
        lr /= max(nimg / (ref_batches * batch_size), 1) ** 0.5
    if rampup_nimg > 0:
        lr *= min(nimg / rampup_nimg, 1)
    return lr
