#!/usr/bin/env python3
"""Training steps of a ResNet-20 (batch 64, 32 by 32 images): tq-qat against PyTorch, in seconds a step.

    cargo build --release -p tq-qat --example resnet_step
    python qat.py [--program PATH] [--threads N] [--batch N] [--steps N] [--rounds N] [--json]

Needs PyTorch. A step is forward pass, cross-entropy, backward pass and SGD with momentum, always of the same batch.

First, gradients of both from the same weights and data are compared with those of PyTorch in f64. Then the contestants,
each kept running, take turns: in every round each makes `--steps` steps, so that whatever else the machine does falls on
all of them. The ratio is that of the medians over the rounds; the ratio round by round has its spread beside it. CPU
seconds are those of all threads of the process, as Linux counts them: where the machine has other work, they tell more
than time does.

Two train in float. Two have fake quantizers: PyTorch's eager quantization-aware training (fused layers,
`default_qat_qconfig` of fbgemm), and tq-qat with quantizers at the same places that do the same: a moving average of the
range of every activation, a scale for every channel of weights, which are multiplied with what batch normalization makes
of them before.
"""

import argparse
import copy
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import torch
from torch import nn
from torch.ao import quantization as quant


class Conv(nn.Module):
    def __init__(self, width, out, kernel, stride, relu):
        super().__init__()
        self.conv = nn.Conv2d(width, out, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(out)
        self.relu = nn.ReLU() if relu else nn.Identity()

    def forward(self, x):
        return self.relu(self.bn(self.conv(x)))

    def fuse(self):
        names = ["conv", "bn"] + (["relu"] if isinstance(self.relu, nn.ReLU) else [])
        quant.fuse_modules_qat(self, names, inplace=True)


class Block(nn.Module):
    def __init__(self, width, out, stride):
        super().__init__()
        self.conv1 = Conv(width, out, 3, stride, True)
        self.conv2 = Conv(out, out, 3, 1, False)
        self.short = Conv(width, out, 1, stride, False) if width != out else None
        self.sum = nn.quantized.FloatFunctional()

    def forward(self, x):
        return self.sum.add_relu(self.conv2(self.conv1(x)), self.short(x) if self.short else x)


class ResNet20(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = Conv(3, 16, 3, 1, True)
        widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
        self.blocks = nn.Sequential(*(Block(a, b, 1 + (a != b)) for a, b in zip(widths, widths[1:])))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, 10)
        self.quant, self.dequant = quant.QuantStub(), quant.DeQuantStub()

    def forward(self, x):
        x = self.pool(self.blocks(self.stem(self.quant(x))))
        return self.dequant(self.fc(torch.flatten(x, 1)))


class PyTorch:
    def __init__(self, net, x, labels):
        self.net, self.x, self.labels = net, x, labels
        self.optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)

    def loss(self):
        self.optimizer.zero_grad()
        loss = nn.functional.cross_entropy(self.net(self.x), self.labels)
        loss.backward()
        return loss.item()

    def steps(self, n):
        start = time.perf_counter()
        for _ in range(n):
            self.loss()
            self.optimizer.step()
        return time.perf_counter() - start

    def cpu(self):
        return cpu_seconds("self")


class Program:
    def __init__(self, args, folder, *words):
        environment = os.environ | {"RAYON_NUM_THREADS": str(args.threads)}
        command = [args.program, folder, str(args.batch), *words]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def ask(self, line):
        print(line, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"{self.process.args[0]} ended with {self.process.wait()}")
        return float(answer)

    def steps(self, n):
        return self.ask(f"steps {n}")

    def cpu(self):
        return cpu_seconds(self.process.pid)


def cpu_seconds(process):
    with open(f"/proc/{process}/stat") as file:
        user, system = file.read().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def parameters(net):
    """All parameters in the order in which the program has them."""
    convolutions = [m for m in net.modules() if isinstance(m, Conv)]
    out = []
    for m in convolutions:
        out += [m.conv.weight, m.bn.weight, m.bn.bias]
    return out + [net.fc.weight, net.fc.bias]


def compare(ours, net, x, labels, folder):
    """How far gradients of ours, and of PyTorch in f32, are from those of PyTorch in f64: the largest difference, as
    part of the largest gradient of its parameter. ReLU and batch normalization make much of small errors, so what f32
    can do is told by PyTorch's own."""
    wide = copy.deepcopy(net).double()
    expected = PyTorch(wide, x.double(), labels).loss()
    peer = copy.deepcopy(net)
    PyTorch(peer, x, labels).loss()
    loss = ours.ask("gradients")
    if abs(loss - expected) > 1e-5 * abs(expected):
        sys.exit(f"loss {loss}, PyTorch has {expected}")
    flat = torch.from_file(os.path.join(folder, "gradients.f32"), size=sum(p.numel() for p in parameters(net)))
    worst, of_peer, at = 0.0, 0.0, 0
    for p, theirs in zip(parameters(wide), parameters(peer)):
        mine = flat[at : at + p.numel()].reshape(p.shape)
        at += p.numel()
        largest = p.grad.abs().max()
        worst = max(worst, ((mine - p.grad).abs().max() / largest).item())
        of_peer = max(of_peer, ((theirs.grad - p.grad).abs().max() / largest).item())
    if not worst < 3 * of_peer:
        sys.exit(f"gradients differ by {worst} of the largest from those in f64, those of PyTorch by {of_peer}")
    return worst, of_peer


def compare_qat(ours, net, x, labels, folder):
    """Holds a first step with fake quantizers against PyTorch's, of the observers as they are documented (`version=0`; the
    fused ones find another scale for weights). Rounding is a step, which the smallest differences move values over, so
    that gradients of early layers differ by half when the images change by a millionth. What is held is the loss, the
    gradients of the last layer, and the norm of all."""
    peer = qat_of(net, version=0)
    expected = PyTorch(peer, x, labels).loss()
    loss = ours.ask("gradients")
    if abs(loss - expected) > 1e-2 * abs(expected):
        sys.exit(f"with fake quantizers: loss {loss}, PyTorch has {expected}")
    # Fused modules keep the order of the parameters, under other names.
    theirs = []
    for m in (m for m in peer.modules() if hasattr(m, "weight_fake_quant")):
        theirs += [m.weight, m.bn.weight, m.bn.bias] if hasattr(m, "bn") else [m.weight, m.bias]
    last = sum(p.numel() for p in theirs[-2:])
    theirs = torch.cat([p.grad.flatten() for p in theirs])
    mine = torch.from_file(os.path.join(folder, "gradients.f32"), size=theirs.numel())
    distance = ((mine - theirs)[-last:].norm() / theirs[-last:].norm()).item()
    norms = (mine.norm() / theirs.norm()).item()
    if not (distance < 0.05 and 0.9 < norms < 1.1):
        sys.exit(f"with fake quantizers: gradients of the last layer differ by {distance}, norms are {norms} times as large")
    return distance


def qat_of(net, version=1):
    net = copy.deepcopy(net).train()
    for m in net.modules():
        if isinstance(m, Conv):
            m.fuse()
    net.qconfig = quant.get_default_qat_qconfig("fbgemm", version=version)
    return quant.prepare_qat(net)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="target/release/examples/resnet_step")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(1)
    torch.set_num_threads(args.threads)
    net = ResNet20().train()
    x, labels = torch.randn(args.batch, 3, 32, 32), torch.randint(0, 10, (args.batch,))
    with tempfile.TemporaryDirectory() as folder:
        flat = torch.cat([p.detach().flatten() for p in parameters(net)])
        for name, values in (("weights.f32", flat), ("x.f32", x), ("labels.i64", labels)):
            values.numpy().tofile(os.path.join(folder, name))
        ours, peer = Program(args, folder), PyTorch(net, x, labels)
        worst, of_peer = compare(ours, net, x, labels, folder)
        ours_qat = Program(args, folder, "qat")
        distance = compare_qat(ours_qat, net, x, labels, folder)
        contestants = {
            "tq-qat, QAT": ours_qat,
            "PyTorch, eager QAT": PyTorch(qat_of(net), x, labels),
            "tq-qat, float": ours,
            "PyTorch, float": peer,
        }
        seconds, cpu = ({name: [] for name in contestants} for _ in range(2))
        for c in contestants.values():
            c.steps(1)
        for _ in range(args.rounds):
            for name, c in contestants.items():
                before = c.cpu()
                seconds[name].append(c.steps(args.steps) / args.steps)
                cpu[name].append((c.cpu() - before) / args.steps)
        for program in (ours_qat, ours):
            program.ask(f"profile {args.steps}")
            program.process.stdin.close()
            program.process.wait()
    first, first_cpu = next(iter(seconds.values())), next(iter(cpu.values()))
    rows = []
    for name, values in seconds.items():
        ratios = sorted(a / b for a, b in zip(values, first))
        rows.append({
            "contestant": name,
            "seconds": {"median": statistics.median(values), "min": min(values), "max": max(values)},
            "ratio": statistics.median(values) / statistics.median(first),
            "cpu_seconds": statistics.median(cpu[name]),
            "cpu_ratio": statistics.median(cpu[name]) / statistics.median(first_cpu),
            "ratio_by_round": {"median": statistics.median(ratios), "min": ratios[0], "max": ratios[-1]},
        })
    if args.json:
        return print(json.dumps({"gradient_difference": worst, "of_pytorch": of_peer, "qat_distance": distance, "threads": args.threads, "rows": rows}, indent=2))
    print(f"largest difference of a gradient from f64: {worst:.1e} of the largest, PyTorch {of_peer:.1e}; "
          f"with fake quantizers those of the last layer are {distance:.1e} of their norm from PyTorch's; {args.threads} threads\n")
    print("| step | seconds | times ours | round by round | CPU seconds | times ours |\n|---|---|---|---|---|---|")
    for r in rows:
        s, q = r["seconds"], r["ratio_by_round"]
        print(
            f"| {r['contestant']} | {s['median']:.3f} ({s['min']:.3f} to {s['max']:.3f}) "
            f"| {r['ratio']:.2f}× | {q['median']:.2f}× ({q['min']:.2f} to {q['max']:.2f}) "
            f"| {r['cpu_seconds']:.2f} | {r['cpu_ratio']:.2f}× |"
        )


if __name__ == "__main__":
    main()
