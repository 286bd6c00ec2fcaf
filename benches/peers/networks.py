"""Times whole networks beside ONNX Runtime, in turns, on the same file and the same input.

usage: networks.py --tq PROGRAM --case FOLDER MODEL [--case FOLDER MODEL ...] [--isa avx2,avx512vnni] [--rounds N] [--ms MS] [--threads T]

A case is a folder with `case.json` and the arrays that it names (of which the first row is the input), and a quantized model
of it, which both run. `--isa` names levels that ours is held to, one column each. Figures are the median of rounds of each
round's median, in milliseconds, and in brackets the least and the largest of the rounds. Before anything is timed the
largest difference of the outputs is printed, in steps of their range over 255.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time

import numpy as np
import onnxruntime as ort

import quantize


def run_ours(args, model, array, isa, runs):
    env = dict(os.environ, **({"TQ_ISA": isa} if isa else {}))
    command = [args.tq, "bench", model, "--input", array, "--threads", str(args.threads), "--runs", str(runs), "--json"]
    return json.loads(subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout)


def session(model, threads):
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run_peer(peer, feed, runs):
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        peer.run(None, feed)
        times.append((time.perf_counter() - start) * 1e3)
    return float(np.median(times))


def difference(args, model, array, peer, feed, folder):
    out = os.path.join(folder, "out")
    command = [args.tq, "run", model, "--input", array, "--out-dir", out]
    subprocess.run(command, check=True, capture_output=True)
    worst = 0.0
    for name, theirs in zip([o.name for o in peer.get_outputs()], peer.run(None, feed)):
        files = [f for f in os.listdir(out) if f.endswith(".npy")]
        ours = np.load(os.path.join(out, files[0] if len(files) == 1 else name + ".npy")).reshape(theirs.shape)
        step = (float(theirs.max()) - float(theirs.min())) / 255 or 1.0
        worst = max(worst, float(np.abs(ours - theirs).max()) / step)
    return worst


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--tq", required=True)
    parser.add_argument("--case", nargs=2, action="append", required=True, metavar=("FOLDER", "MODEL"))
    parser.add_argument("--isa", default="")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ms", type=float, default=400.0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    levels = args.isa.split(",") if args.isa else [""]
    print("| network | " + " | ".join(f"ours{', ' + l if l else ''}" for l in levels) + " | ONNX Runtime | ratio | outputs differ by |")
    print("|---" * (len(levels) + 4) + "|")
    for folder, model in args.case:
        with open(os.path.join(folder, "case.json")) as file:
            case = json.load(file)
        x = quantize.preprocess(quantize.load(os.path.join(folder, case["eval"]))[:1], case.get("preprocess"))
        with tempfile.TemporaryDirectory() as scratch:
            array = os.path.join(scratch, "x.npy")
            np.save(array, x)
            peer = session(model, args.threads)
            feed = {peer.get_inputs()[0].name: x}
            worst = difference(args, model, array, peer, feed, scratch)
            runs = max(5, int(args.ms / run_peer(peer, feed, 5)))
            ours, theirs = {l: [] for l in levels}, []
            for _ in range(args.rounds):
                for l in levels:
                    ours[l].append(run_ours(args, model, array, l, runs)["median_ms"])
                theirs.append(run_peer(peer, feed, runs))
        show = lambda t: f"{np.median(t):.3f} ({min(t):.3f} to {max(t):.3f})"
        # The last level named is the best of the machine.
        ratio = np.median(theirs) / np.median(ours[levels[-1]])
        name = os.path.basename(os.path.normpath(folder))
        print(f"| {name} | " + " | ".join(show(ours[l]) for l in levels) + f" | {show(theirs)} | {ratio:.2f} | {worst:.2f} |", flush=True)


if __name__ == "__main__":
    main()
