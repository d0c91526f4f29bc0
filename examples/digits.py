"""Learn to read handwritten digits: a PyTorch program, as anyone would write it.

    python -m bibun examples/digits.py      on bibun
    python examples/digits.py               on PyTorch, where that is installed

It trains a small network on 1,437 of UCI's 1,797 images, tests it on the other 360, prints loss and accuracy of each
epoch, and saves a picture of which digits were taken for which.
"""

import argparse
import csv
import gzip
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from picture import confusion
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

DATA = Path(__file__).with_name("data") / "digits.csv.gz"


def load():
    """All images, as rows of 64 numbers from 0 to 1, and the digits they show."""
    with gzip.open(DATA, "rt") as file:
        table = torch.tensor([[int(value) for value in line] for line in csv.reader(file)])
    return TensorDataset(table[:, :-1].float() / 16, table[:, -1])


class Reader(nn.Module):
    """From 64 grey values to a score for each of ten digits."""

    def __init__(self, hidden=192):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(0.3),
            nn.Linear(hidden, hidden // 2), nn.ReLU(), nn.Dropout(0.1),
            nn.Linear(hidden // 2, 10),
        )

    def forward(self, images):
        return self.layers(images)


def progress(done, total, words):
    """One line on stderr that is written over and over; nothing where stderr is no terminal."""
    if sys.stderr.isatty():
        bar = "█" * (24 * done // total)
        print(f"\r{words} │{bar:24}│ {done}/{total}", end="\n" if done == total else "", file=sys.stderr, flush=True)


def train(model, batches, optimizer, words):
    """One pass over the training images; the mean loss and the share of right answers come back."""
    model.train()
    lost = right = seen = 0
    for step, (images, digits) in enumerate(batches, 1):
        optimizer.zero_grad()
        scores = model(images)
        loss = F.cross_entropy(scores, digits, label_smoothing=0.05)
        loss.backward()
        optimizer.step()
        lost += loss.item() * len(digits)
        right += (scores.argmax(dim=1) == digits).sum().item()
        seen += len(digits)
        progress(step, len(batches), words)
    return lost / seen, right / seen


@torch.no_grad()
def answers(model, dataset):
    """What each image of the dataset is, and what the model takes it for."""
    model.eval()
    images, digits = dataset[:]
    return images, digits, model(images).argmax(dim=1)


def main():
    parser = argparse.ArgumentParser(description="Learn to read handwritten digits.")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="confusion.png", help="where the picture goes")
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    started = time.perf_counter()
    data = load()
    training, testing = random_split(data, [len(data) - 360, 360])
    batches = DataLoader(training, batch_size=64, shuffle=True)
    model = Reader()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=options.epochs)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{parameters:,} parameters, {len(training)} images to learn, {len(testing)} to test")

    for epoch in range(1, options.epochs + 1):
        loss, right = train(model, batches, optimizer, f"epoch {epoch:2}")
        schedule.step()
        images, digits, taken_for = answers(model, testing)
        tested = (taken_for == digits).float().mean().item()
        print(f"epoch {epoch:2}   loss {loss:.4f}   training accuracy {right:6.2%}   test accuracy {tested:6.2%}")

    table = torch.zeros(10, 10, dtype=torch.int64)
    table.index_put_((digits, taken_for), torch.ones_like(digits), accumulate=True)
    wrong = (taken_for != digits).nonzero().flatten()[:10]
    mistakes = [(images[i].view(8, 8).tolist(), digits[i].item(), taken_for[i].item()) for i in wrong]
    confusion(options.out, table.tolist(), "0123456789", f"{tested:.1%} of {len(digits)} digits read right", mistakes)
    print(f"test accuracy {tested:.2%} with torch {torch.__version__} in {time.perf_counter() - started:.1f} s; "
          f"{len(wrong)} mistakes shown in {options.out}")


if __name__ == "__main__":
    main()
