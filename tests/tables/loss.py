"""Rows of the family `loss`."""

from __future__ import annotations

from typing import Any

import numpy as np

from tables import Table, apart, positive, probabilities, real, whole

TABLE = Table()
row = TABLE.row

# Losses

for reduction in ("mean", "sum", "none"):
    row(
        f"mse {reduction}",
        lambda torch, x, y, r=reduction: torch.nn.functional.mse_loss(x, y, reduction=r),
        real(3, 4),
        real(3, 4),
    )
    row(
        f"l1 {reduction}",
        lambda torch, x, y, r=reduction: torch.nn.functional.l1_loss(x, y, reduction=r),
        apart(3, 4),
        real(3, 4),
    )
    for options in (
        {},
        {"weight": (1.0, 2.0, 0.5)},
        {"ignore_index": 1},
        {"weight": (1.0, 2.0, 0.5), "ignore_index": 0},
    ):

        def nll(torch: Any, x: Any, y: Any, options: Any = options, reduction: str = reduction) -> Any:
            weight = torch.tensor(options["weight"], dtype=x.dtype) if "weight" in options else None
            index = options.get("ignore_index", -100)
            return torch.nn.functional.nll_loss(x, y, weight=weight, ignore_index=index, reduction=reduction)

        def entropy(
            torch: Any, x: Any, y: Any, s: float = 0.0, options: Any = options, reduction: str = reduction
        ) -> Any:
            weight = torch.tensor(options["weight"], dtype=x.dtype) if "weight" in options else None
            index = options.get("ignore_index", -100)
            return torch.nn.functional.cross_entropy(
                x, y, weight=weight, ignore_index=index, reduction=reduction, label_smoothing=s
            )

        name = f"{options} {reduction}"
        row(f"nll {name}", nll, real(5, 3), np.array([0, 1, 2, 1, 0]))
        row(f"nll image {name}", nll, real(2, 3, 2, 2), whole(0, 3, 2, 2, 2))
        row(f"cross entropy {name}", entropy, real(5, 3), np.array([0, 1, 2, 1, 0]))
        row(f"cross entropy image {name}", entropy, real(2, 3, 2, 2), whole(0, 3, 2, 2, 2))
        row(
            f"cross entropy smooth {name}",
            lambda torch, x, y, f=entropy: f(torch, x, y, 0.2),
            real(5, 3),
            np.array([0, 1, 2, 1, 0]),
        )
        if "ignore_index" not in options:
            row(f"cross entropy probabilities {name}", entropy, real(5, 3), probabilities(5, 3))
            row(
                f"cross entropy smooth probabilities {name}",
                lambda torch, x, y, f=entropy: f(torch, x, y, 0.2),
                real(5, 3),
                probabilities(5, 3),
            )
    row(f"cross entropy of one {reduction}", entropy, real(3), np.array(1))
    row(f"nll of one {reduction}", nll, real(3), np.array(1))
    row(f"cross entropy of large {reduction}", entropy, real(5, 3) * 500, np.array([0, 1, 2, 1, 0]))
row(
    "cross entropy all ignored",
    lambda torch, x, y: torch.nn.functional.cross_entropy(x, y),
    real(2, 3),
    np.array([-100, -100]),
    smooth=False,
)
row(
    "cross entropy ignores -100",
    lambda torch, x, y: torch.nn.functional.cross_entropy(x, y),
    real(3, 3),
    np.array([-100, 1, 2]),
)
row("mse of integers", lambda torch, x, y: torch.nn.functional.mse_loss(x, y), real(3), whole(0, 5, 3))

# Losses of numbers, probabilities and margins

SIGNS = np.array([[1, -1, 1], [-1, 1, -1]])


def constant(torch: Any, x: Any) -> Any:
    return torch.tensor([0.5, 2.0, 1.5, 1.0], dtype=x.dtype)


def loss(name: str, **options: Any) -> Any:
    return lambda torch, *tensors: getattr(torch.nn.functional, name)(*tensors, **options)


for reduction in ("mean", "sum", "none"):
    options = {"reduction": reduction}
    for name, choices in (("smooth_l1_loss", ("beta", (1.0, 0.3, 0.0))), ("huber_loss", ("delta", (1.0, 0.3)))):
        for value in choices[1]:
            chosen = {**options, choices[0]: value}
            row(f"{name} {chosen}", loss(name, **chosen), apart(3, 4), apart(3, 4) + 0.01)
    if reduction != "mean":  # PyTorch warns of it
        row(f"kl_div {reduction}", loss("kl_div", **options), real(3, 4), probabilities(3, 4))
        row(f"kl_div of logarithms {reduction}", loss("kl_div", log_target=True, **options), real(3, 4), real(3, 4))
    row(f"binary_cross_entropy {reduction}", loss("binary_cross_entropy", **options), *(probabilities(3, 4),) * 2)
    row(
        f"binary_cross_entropy, weighted {reduction}",
        lambda torch, x, y, o=options: torch.nn.functional.binary_cross_entropy(x, y, constant(torch, x), **o),
        probabilities(3, 4),
        probabilities(3, 4),
    )
    row(f"logits {reduction}", loss("binary_cross_entropy_with_logits", **options), real(3, 4), probabilities(3, 4))
    row(
        f"logits, weighted {reduction}",
        lambda torch, x, y, o=options: torch.nn.functional.binary_cross_entropy_with_logits(
            x, y, constant(torch, x), pos_weight=constant(torch, x) + 1, **o
        ),
        real(3, 4),
        probabilities(3, 4),
    )
    row(f"soft_margin_loss {reduction}", loss("soft_margin_loss", **options), real(2, 3), SIGNS)
    row(
        f"multilabel_soft_margin_loss {reduction}",
        loss("multilabel_soft_margin_loss", **options),
        real(2, 3),
        (SIGNS + 1) // 2,
    )
    for log_input, full in ((True, False), (False, True)):
        chosen = {"log_input": log_input, "full": full, **options}
        row(f"poisson_nll_loss {chosen}", loss("poisson_nll_loss", **chosen), positive(3, 4), positive(3, 4) * 2)
    for shape in ((3, 4), (3, 1), (3,)):
        row(
            f"gaussian_nll_loss {shape} {reduction}",
            loss("gaussian_nll_loss", full=True, **options),
            real(3, 4),
            real(3, 4),
            positive(*shape),
        )
    row(
        f"cosine_embedding_loss {reduction}",
        loss("cosine_embedding_loss", margin=0.1, **options),
        real(3, 4),
        real(3, 4),
        np.array([1, -1, -1]),
    )
    row(f"hinge_embedding_loss {reduction}", loss("hinge_embedding_loss", **options), apart(2, 3), SIGNS)
    row(
        f"margin_ranking_loss {reduction}",
        loss("margin_ranking_loss", margin=0.3, **options),
        apart(2, 3),
        apart(2, 3) + 0.01,
        SIGNS,
    )
    for chosen in ({}, {"p": 1, "swap": True, "margin": 2.0}):
        row(
            f"triplet_margin_loss {chosen} {reduction}",
            loss("triplet_margin_loss", **chosen, **options),
            *(real(3, 4) for _ in range(3)),
            tolerance=10,
        )
    for chosen in ({}, {"p": 2, "margin": 0.5}):
        row(
            f"multi_margin_loss {chosen} {reduction}",
            loss("multi_margin_loss", **chosen, **options),
            real(3, 4),
            np.array([1, 0, 3]),
            twice=False,
        )
    row(
        f"multilabel_margin_loss {reduction}",
        loss("multilabel_margin_loss", **options),
        real(2, 4),
        np.array([[3, 0, -1, 1], [-1, 1, 2, 3]]),
        twice=False,
    )


def ctc(lengths: Any, counts: Any, **options: Any) -> Any:
    def call(torch: Any, x: Any, y: Any) -> Any:
        scores = torch.nn.functional.log_softmax(x, dim=-1)
        return torch.nn.functional.ctc_loss(scores, y, torch.tensor(lengths), torch.tensor(counts), **options)

    return call


LABELS = np.array([[1, 1, 2], [3, 2, 1], [2, 4, 4]])
for options in ({}, {"reduction": "sum"}, {"reduction": "none"}, {"blank": 4, "reduction": "none"}):
    labels = LABELS % 4 if "blank" in options else LABELS
    case = ctc([8, 6, 7], [3, 2, 0], **options)
    row(f"ctc {options}", case, real(8, 3, 5), labels, twice=False, tolerance=100)
row("ctc, joined", ctc([8, 6, 7], [3, 2, 0]), real(8, 3, 5), LABELS.reshape(-1)[:5], twice=False, tolerance=100)
row("ctc of one", ctc(8, 3, reduction="none"), real(8, 5), LABELS[0], twice=False, tolerance=100)
row(
    "ctc of too many labels",
    ctc([2, 8], [3, 3], reduction="sum", zero_infinity=True),
    real(8, 2, 5),
    LABELS[:2],
    twice=False,
    tolerance=100,
)
for name, target in (("mse_loss", real(3, 4)), ("l1_loss", real(3, 4)), ("huber_loss", real(3, 4))):
    row(
        f"{name}, weighted",
        lambda torch, x, y, w, f=name: getattr(torch.nn.functional, f)(x, y, weight=w),
        apart(3, 4),
        target,
        positive(3, 4),
    )
row("kl_div by batch", loss("kl_div", reduction="batchmean"), real(3, 4), probabilities(3, 4))
row("cross entropy of many classes", loss("cross_entropy"), real(3, 37), np.array([0, 36, 17]), tolerance=4)
row("cross entropy of nothing", loss("cross_entropy", reduction="sum"), real(0, 3), np.zeros(0, np.int64))
