"""Training steps of a net of the kind of ResNet-20 (64 pictures of 3x32x32), against eager PyTorch.

usage: qat.py STEP_PROGRAM [--threads N] [--steps N] [--qat]

STEP_PROGRAM is the example `train_step` of tq-qat. Both do one step in turn, so that both see the same machine; the
median of the ratio of neighbouring steps is told, with its quartiles. First both train the same net from their own
random weights for a few steps, and both losses must fall. `--qat` gives PyTorch's net fake quantization of weights and
activations (`get_default_qat_qconfig`); without it both are in float.
"""

import argparse
import statistics
import subprocess
import time

import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, channels, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.down = None
        if stride == 2:
            self.down = nn.Sequential(nn.Conv2d(channels, width, 1, 2, bias=False), nn.BatchNorm2d(width))
        self.add = torch.ao.nn.quantized.FloatFunctional()
        self.relu2 = nn.ReLU()

    def forward(self, x):
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu2(self.add.add(y, x if self.down is None else self.down(x)))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.quant = torch.ao.quantization.QuantStub()
        self.conv = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        blocks, channels = [], 16
        for stage, width in enumerate((16, 32, 64)):
            for block in range(3):
                blocks.append(Block(channels, width, 2 if stage and not block else 1))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = self.blocks(self.relu(self.bn(self.conv(self.quant(x)))))
        return self.fc(x.mean((2, 3)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--qat", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    net = Net().train()
    if options.qat:
        torch.backends.quantized.engine = "fbgemm"
        net.qconfig = torch.ao.quantization.get_default_qat_qconfig("fbgemm")
        torch.ao.quantization.prepare_qat(net, inplace=True)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    x, target = torch.rand(64, 3, 32, 32) * 2 - 1, torch.arange(64) % 10
    ours = subprocess.Popen(
        [options.program, str(options.threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def theirs():
        start = time.perf_counter()
        loss = nn.functional.cross_entropy(net(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return time.perf_counter() - start, loss.item()

    def mine():
        ours.stdin.write("\n")
        ours.stdin.flush()
        seconds, forward, backward, loss = map(float, ours.stdout.readline().split())
        return seconds, loss, forward, backward

    losses = ([], [])
    rows = []
    for step in range(options.steps + 3):
        a, b = mine(), theirs()
        losses[0].append(a[1])
        losses[1].append(b[1])
        if step >= 3:  # The first ones warm up.
            rows.append((a[0], b[0], a[2], a[3]))
    ours.stdin.close()
    for name, all in zip(("tq-qat", "PyTorch"), losses):
        assert all[-1] < all[0], f"{name} does not learn: {all}"
        print(f"{name}: loss {all[0]:.4f} -> {all[-1]:.4f}")
    median = lambda i: statistics.median(r[i] for r in rows)
    ratios = [a / b for a, b, _, _ in rows]
    low, _, high = statistics.quantiles(ratios, n=4)
    print(f"tq-qat {median(0) * 1e3:.0f} ms (forward {median(2) * 1e3:.0f}, backward {median(3) * 1e3:.0f}), "
          f"PyTorch {torch.__version__} {'QAT' if options.qat else 'float'} {median(1) * 1e3:.0f} ms; "
          f"time ratio {statistics.median(ratios):.2f} (quartiles {low:.2f} to {high:.2f}, "
          f"{len(rows)} steps, {options.threads} threads)")


if __name__ == "__main__":
    main()
