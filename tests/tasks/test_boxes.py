"""Detection of points: overlaps, suppression, average precision, loss, each beside a slow one written out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import everychip as ec
from everychip import rng_for, tasks
from everychip.errors import ConfigError, DataError, StoreError
from everychip.tasks.boxes import average_precision, matched, overlap, strongest
from everychip.tasks.points import Points

HW = ec.Hardware(device=ec.devices.Gaussian(sigma=0.1))


def some_boxes(n: int, *, seed: int = 0) -> Tensor:
    corners = torch.rand((n, 2, 2), generator=rng_for(seed, "boxes")) * 10
    return torch.cat([corners.min(1).values, corners.max(1).values + 0.5], dim=1)


def iou_by_counting(a: Tensor, b: Tensor, steps: int = 400) -> float:
    """The share of a fine grid that is in both, of what is in either."""
    axis = (torch.arange(steps) + 0.5) / steps * 12
    x, y = axis[None, :], axis[:, None]
    inside = [(x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3]) for box in (a, b)]
    return float((inside[0] & inside[1]).sum() / (inside[0] | inside[1]).sum())


def test_overlap_is_the_share_of_area_in_both() -> None:
    a, b = some_boxes(20), some_boxes(20, seed=1)
    for one, other, found in zip(a, b, overlap(a, b).tolist(), strict=True):
        assert found == pytest.approx(iou_by_counting(one, other), abs=0.02)
    assert torch.equal(overlap(a, a), torch.ones(20))
    assert float(overlap(torch.zeros(4), torch.zeros(4))) == 0.0


def test_suppression_is_the_loop_of_the_textbook_for_every_image() -> None:
    scores = torch.rand((5, 30), generator=rng_for(2))
    scores[0] = 0.0  # nothing there
    labels = torch.randint(3, (5, 30), generator=rng_for(3))
    boxes = torch.stack([some_boxes(30, seed=n) for n in range(5)])
    found = strongest(scores, labels, boxes, most=40, iou=0.3)
    for n in range(5):
        expected: list[int] = []
        for i in scores[n].argsort(descending=True).tolist():
            clear = all(
                labels[n, i] != labels[n, j] or overlap(boxes[n, i], boxes[n, j]) <= 0.3 for j in expected
            )
            if clear and scores[n, i] > 0:
                expected.append(i)
        assert [i for i in found[n].tolist() if i >= 0] == expected
    assert torch.equal(strongest(scores, labels, boxes, most=4, iou=0.3), found[:, :4])


def test_average_precision_is_scikit_learns_where_precision_only_falls() -> None:
    from sklearn.metrics import average_precision_score, precision_recall_curve

    scores = torch.rand(200, generator=rng_for(4), dtype=torch.float64)
    right = torch.rand(200, generator=rng_for(5)) < scores
    precision, recall, _ = precision_recall_curve(right.numpy(), scores.numpy())
    # scikit-learn does not make precision fall: here the envelope is taken of its own curve.
    curve = sorted(zip(recall.tolist(), precision.tolist(), strict=True))
    area, before = 0.0, 0.0
    for r, _ in curve:
        area += (r - before) * max(p for other, p in curve if other >= r)
        before = r
    found = average_precision(scores, right, int(right.sum()))
    assert found == pytest.approx(area, abs=1e-9)
    assert found >= average_precision_score(right.numpy(), scores.numpy()) - 1e-9
    assert average_precision(scores, right, 2 * int(right.sum())) == pytest.approx(area / 2, abs=1e-9)
    assert average_precision(torch.zeros(0), torch.zeros(0, dtype=torch.bool), 3) == 0.0


def test_an_object_is_matched_once_by_its_own_class() -> None:
    objects, classes = torch.tensor([[0.0, 0, 4, 4], [6.0, 6, 10, 10]]), torch.tensor([1, 2])
    near, far = torch.tensor([0.0, 0, 4, 3.5]), torch.tensor([20.0, 20, 24, 24])
    found = [near, near, objects[1], objects[1], far]
    assert matched(found, [1, 1, 1, 2, 2], objects, classes, iou=0.5) == [True, False, False, True, False]
    assert matched([near], [1], objects[:0], classes[:0], iou=0.5) == [False]


def perfect(points: Points, targets: list[dict[str, Tensor]], size: int) -> Tensor:
    """Outputs that say of every point what it should."""
    answer = torch.full((len(targets), points.classes + 4, size, size), -10.0)
    labels, boxes = points.wanted(answer, targets)
    centres = points.centres(answer)
    sides = torch.cat([centres - boxes[..., :2], boxes[..., 2:] - centres], -1) / points.stride
    there = labels >= 0
    raw = torch.where(
        there[..., None], sides.clamp(min=1e-3).expm1().clamp(min=1e-6).log(), sides.new_zeros(())
    )
    answer[:, points.classes :] = raw.transpose(1, 2).reshape(len(targets), 4, size, size)
    for n, p in there.nonzero().tolist():
        answer[n, labels[n, p], p // size, p % size] = 20.0
    return answer


@pytest.mark.parametrize("stride", [1, 2])
def test_outputs_that_say_what_they_should_have_map_1_and_no_loss(stride: int) -> None:
    splits = ec.data.DigitBoxes().load()
    targets = splits.test.y[:6]
    task = tasks.Detection(classes=10, stride=stride)
    assert task.points is not None
    answer = perfect(task.points, targets, 24 // stride)
    meter = task.meter()
    meter.update(answer, targets)
    assert meter.compute()["mAP"] == pytest.approx(1.0)
    assert float(task.loss(answer, targets)) < 1e-3
    wrong = answer.clone()
    wrong[:, :10] = answer[:, :10].roll(1, dims=1)
    assert float(task.loss(wrong, targets)) > 1
    meter = task.meter()
    meter.update(wrong, targets)
    assert meter.compute()["mAP"] < 0.5


def test_the_loss_is_focal_loss_and_iou_written_out() -> None:
    points = Points(classes=3)
    answer = torch.randn((1, 7, 5, 5), generator=rng_for(6))
    target = [{"boxes": torch.tensor([[0.0, 0, 4, 4]]), "labels": torch.tensor([2])}]
    labels, _ = points.wanted(answer, target)
    on = [(x, y) for y in range(5) for x in range(5) if abs(x + 0.5 - 2) <= 1 and abs(y + 0.5 - 2) <= 1]
    assert labels.reshape(5, 5).ge(0).sum() == len(on)
    total = 0.0
    for y in range(5):
        for x in range(5):
            p = torch.sigmoid(answer[0, :3, y, x] - torch.tensor(99.0).log())
            for c in range(3):
                is_object = (x, y) in on and c == 2
                share = p[c] if is_object else 1 - p[c]
                total += float(-(0.25 if is_object else 0.75) * (1 - share) ** 2 * share.log())
            if (x, y) in on:
                left, up, right, down = F.softplus(answer[0, 3:, y, x]).tolist()
                box = torch.tensor([x + 0.5 - left, y + 0.5 - up, x + 0.5 + right, y + 0.5 + down])
                total += 1 - float(overlap(box, target[0]["boxes"][0]))
    assert float(points.loss(answer, target)) == pytest.approx(total / len(on), rel=1e-4)


def test_images_without_an_object_and_chips_that_overflow_have_numbers() -> None:
    task = tasks.Detection(classes=3)
    empty = [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}]
    assert torch.isfinite(task.loss(torch.zeros(1, 7, 4, 4), empty))
    meter = task.meter()
    meter.update(
        torch.full((1, 7, 4, 4), float("nan")), [{"boxes": some_boxes(1), "labels": torch.tensor([0])}]
    )
    assert meter.compute()["mAP"] == 0.0


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"boxes": torch.zeros(2, 4)}, "a dict of boxes"),
        ({"boxes": torch.zeros(2, 3), "labels": torch.zeros(2).long()}, r"boxes \[2, 3\]"),
        ({"boxes": torch.zeros(2, 4), "labels": torch.tensor([0, 3])}, "labels 0 … 3"),
    ],
)
def test_targets_that_are_no_boxes_are_refused_in_one_line(row: dict[str, Tensor], words: str) -> None:
    with pytest.raises(DataError, match=words) as error:
        tasks.Detection(classes=3).validate_for(torch.zeros(1, 7, 4, 4), [row])
    assert "\n" not in str(error.value)


def test_outputs_of_another_width_are_refused_before_training() -> None:
    net = nn.Conv2d(1, 10, 3, padding=1)
    with pytest.raises(DataError, match=r"outputs \[n, 10 \+ 4, h, w\]"):
        ec.fit(net, "vanilla", ec.data.DigitBoxes(), task=tasks.Detection(classes=10), hardware=HW, epochs=1)


def test_a_detector_that_is_not_read_is_refused_as_before() -> None:
    with pytest.raises(ConfigError, match="no loss of its own"):
        tasks.Detection().loss(None, None)
    with pytest.raises(ConfigError, match="no score"):
        tasks.Detection().meter()


def test_boxes_hold_the_strokes_and_nothing_else() -> None:
    splits = ec.data.DigitBoxes().load()
    for x, target in zip(splits.test.x[:50, 0], splits.test.y[:50], strict=True):
        rest = x.clone()
        for left, top, right, bottom in target["boxes"].long().tolist():
            inside = x[top:bottom, left:right] > 0
            assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()
            rest[top:bottom, left:right] = -1
        assert not (rest > 0).any()
        assert 1 <= len(target["labels"]) <= 3
    assert {int(label) for target in splits.train.y for label in target["labels"]} == set(range(10))


class OfEachImage(nn.Module):
    """A detector as torchvision's are: a list of images in, a list of dicts out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        return [{"boxes": self.conv(image[None]).mean((2, 3))} for image in images]


def images_and_boxes(n: int = 6) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    images = [torch.rand((1, 8, 8 + i), generator=rng_for(i, "image")) for i in range(n)]
    return images, [
        {"boxes": some_boxes(2, seed=i), "labels": torch.zeros(2, dtype=torch.long)} for i in range(n)
    ]


@pytest.mark.parametrize("method", ["vanilla", "noise_injection", "irs"])
@pytest.mark.parametrize("form", ["a list", "a tensor"])
def test_a_detector_whose_outputs_are_not_read_is_not_trained_by_fit(method: str, form: str) -> None:
    images, boxes = images_and_boxes()
    x = images if form == "a list" else torch.zeros(6, 1, 8, 8)
    with pytest.raises(ConfigError, match=r"task\.detection: found a training; .*objective\.chip\(\)"):
        ec.fit(OfEachImage(), method, (x, boxes), task="detection", hardware=HW, epochs=1)


@pytest.mark.parametrize("changed", ["boxes", "labels", "images"])
def test_a_training_on_other_boxes_or_images_is_another_training(changed: str, tmp_path) -> None:
    """What a training reads is in its identity, in lists and dicts, too."""

    def fitted(x, y):
        model = ec.models.Pixelwise(width=4, depth=1).build((1, 8, 8), 3 + 4, seed=0)
        task, file = tasks.Detection(classes=3), tmp_path / "training.safetensors"
        options = {"hardware": HW, "epochs": 1, "batch_size": 3}
        ec.fit(model, "vanilla", (x, y), task=task, checkpoint=file, **options)

    x = torch.rand((6, 1, 8, 8), generator=rng_for(0, "x"))
    y = images_and_boxes()[1]
    fitted(x, y)
    others = {"boxes": y[3]["boxes"] + 0.25, "labels": y[3]["labels"] + 1}
    target = {**y[3], changed: others.get(changed, y[3]["boxes"])} if changed != "images" else y[3]
    with pytest.raises(StoreError, match="another training"):
        fitted(x + (changed == "images"), [*y[:3], target, *y[4:]])
