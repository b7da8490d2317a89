"""A network to try everything on: a small residual network, trained on scikit-learn's handwritten digits.

Nothing is downloaded: the 1,797 images of 8 x 8 pixels come with scikit-learn. Training takes less than a minute on two
cores, and gives the same network again on the same machine. Needs PyTorch (requirements/torch.txt).

    python examples/digits.py digits            # writes digits/digits.pt2, digits/train.npz, digits/test.npz

The same file is a hook of the command sensitivity (``--method hessian --hook examples/digits.py``): its functions
`model`, `batches` and `loss` are what it calls.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

SEED = 0
TEST_IMAGES = 1197
"""Of 1,797. The more of them, the narrower the interval of an accuracy; the fewer, the better the training."""
EPOCHS, BATCH = 25, 50


class Block(nn.Module):
    """Two convolutions and a shortcut, as in ResNet-18."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = (
            nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
            if stride > 1
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class DigitsNet(nn.Module):
    """77,290 parameters, batch normalization folded, in seven convolutions and a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.block1 = Block(32, 32, 1)
        self.block2 = Block(32, 64, 2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, 10)

    def forward(self, image: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(image)))
        x = self.block2(self.block1(x))
        return self.fc(torch.flatten(self.pool(x), 1))


def split() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images and labels, test images and labels; images are [N, 1, 8, 8], about from -1 to 2."""
    digits = load_digits()
    order = np.random.default_rng(SEED).permutation(len(digits.target))
    images = ((digits.images - digits.images.mean()) / digits.images.std()).astype(np.float32)[order, None]
    labels = digits.target.astype(np.int64)[order]
    parts = (images[TEST_IMAGES:], labels[TEST_IMAGES:], images[:TEST_IMAGES], labels[:TEST_IMAGES])
    return tuple(torch.from_numpy(part) for part in parts)  # type: ignore[return-value]


def trained(epochs: int = EPOCHS) -> nn.Module:
    """The network in evaluation mode."""
    torch.manual_seed(SEED)
    network = DigitsNet()
    images, labels, _, _ = split()
    steps = epochs * (len(images) // BATCH)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps)
    generator = torch.Generator().manual_seed(SEED)
    network.train()
    for _ in range(epochs):
        order = torch.randperm(len(images), generator=generator)
        for start in range(0, len(images) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(moved(images[chosen], generator)), labels[chosen]).backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def moved(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each batch by up to one pixel: there are few images."""
    down, right = torch.randint(-1, 2, (2,), generator=generator).tolist()
    return torch.roll(images, (down, right), (2, 3))


def model() -> nn.Module:
    """For ``--hook``."""
    return trained()


def batches() -> Iterator[tuple[Tensor, Tensor]]:
    """For ``--hook``: some of the training images."""
    images, labels, _, _ = split()
    for start in range(0, 512, 128):
        yield images[start : start + 128], labels[start : start + 128]


def loss(network: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """For ``--hook``."""
    return nn.functional.cross_entropy(network(batch[0]), batch[1])


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit("usage: python examples/digits.py FOLDER")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    network = trained()
    seconds = time.perf_counter() - start
    images, labels, test_images, test_labels = split()
    program = torch.export.export(network, (images[:1],))
    torch.export.save(program, str(folder / "digits.pt2"))
    # Arrays by the name of the network's input (the argument of forward), NCHW, and the class of each image.
    np.savez(folder / "train.npz", image=images.numpy(), labels=labels.numpy())
    np.savez(folder / "test.npz", image=test_images.numpy(), labels=test_labels.numpy())
    with torch.no_grad():
        right = int((network(test_images).argmax(1) == test_labels).sum())
    parameters = sum(parameter.numel() for parameter in network.parameters())
    print(f"{parameters:,} parameters, trained in {seconds:.0f} s: {right} of {len(test_labels)} test images are right")
    print(f"{folder}: digits.pt2, train.npz ({len(labels):,} images), test.npz ({len(test_labels)} images)")


if __name__ == "__main__":
    main()
