"""Checks that files of ONNX Runtime's quantizer import and give its answers. Run by `cargo xtask oracle`.

usage: check_import.py TQ MODELS_DIR WORK_DIR [CASE ...]

Every case of MODELS_DIR is quantized in all forms of benches/peers/quantize.py. Each file runs in our session and in ONNX
Runtime with exact products and its default optimizations, without which it computes QDQ files in float, on up to 1000
samples (TQ_ORACLE_SAMPLES takes another number). Fails
unless the figure (top-1, AUC, Spearman's correlation, in points) is within 0.3 points or one sample, and decisions are the same
on at least 99 % of the samples, as check_models.py counts them; and unless `tq inspect` finds integer nodes in every static file.

Where ranges are found at run time the last bit of a float moves codes, and what follows from them. A file out of these
bounds is therefore run in ONNX Runtime again, eight times, with every float of the inputs moved to a neighbour or not: it
passes only where ONNX Runtime is as far from itself, in its figure and in its decisions. The table WORK_DIR/imports.md tells both.
"""

import json
import os
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime as ort

ROOT = os.path.join(os.path.dirname(__file__), "..", "..")
sys.path[:0] = [os.path.join(ROOT, "benches", "peers"), os.path.dirname(__file__)]
os.environ.setdefault("TQ_ORACLE_SAMPLES", "1000")

import quantize  # noqa: E402
from check_export import output_scale  # noqa: E402
from check_models import case_of, folders  # noqa: E402
from check_targets import LEVELS, session  # noqa: E402


def spread(case, run, theirs, step):
    """How far ONNX Runtime's figure is from itself, at most, and the least share of equal decisions, by the last bits."""
    apart, equal = [], []
    for seed in range(8):
        case.nudge = np.random.default_rng(seed)
        other = case.theirs(run)
        apart.append(abs(case.figure(other)[0] - case.figure(theirs)[0]))
        equal.append(case.equal(other, theirs, step))
    case.nudge = None
    return max(apart), min(equal)


def check(case, path, form):
    """Whether the answers are those of ONNX Runtime, and a row of how far figures and decisions are apart."""
    run, step = session(path, LEVELS["all"]), output_scale(onnx.load(path))
    ours, theirs = case.ours(path), case.theirs(run)
    (mine, sample), (their, _) = case.figure(ours), case.figure(theirs)
    equal, apart = case.equal(ours, theirs, step), abs(mine - their)
    seen = json.loads(subprocess.run([case.program, "inspect", path, "--json"], check=True, capture_output=True).stdout)
    integer, same = len(seen["quantizable"]), (ours.reshape(-1) == theirs.reshape(-1)).mean() * 100
    print(f"{case.name} {form}: ours {mine:.2f} ONNX Runtime {their:.2f}; decided equally {equal:.2f} %; outputs identical "
          f"{same:.2f} %; {integer} integer nodes", flush=True)
    close, itself = apart <= max(0.3, sample) + 1e-9 and equal >= 99, None
    if not close and form.startswith("dynamic"):
        itself = spread(case, run, theirs, step)
        print(f"  ONNX Runtime and itself: {itself[0]:.2f} apart; decided equally {itself[1]:.2f} %", flush=True)
        close = apart <= itself[0] + 1e-9 and equal >= itself[1]
    return close and (integer > 0 or not form.startswith("q")), (apart, equal, itself)


def main():
    program, models, work, *only = sys.argv[1:]
    ort.set_default_logger_severity(3)
    failed, seen, table = [], 0, []
    for folder in folders(models, only):
        own = os.path.join(work, os.path.basename(os.path.normpath(folder)))
        os.makedirs(own, exist_ok=True)
        case = case_of(folder, own, program)
        if case is None:
            print(f"{folder}: SKIPPED: a metric that this check does not have")
            continue
        groups = {}
        for form in quantize.make(folder, own):
            seen += 1
            fine, row = check(case, os.path.join(own, form + ".onnx"), form)
            groups.setdefault("of every run" if form.startswith("dynamic") else "of the data", []).append(row)
            if not fine:
                failed.append(f"{case.name} {form}")
        for ranges, rows in groups.items():
            apart, equal, itself = zip(*rows)
            by_itself = [i for i in itself if i]
            text = "".join(f"{max(a for a, _ in by_itself):.2f}, {min(e for _, e in by_itself):.2f} %" for _ in by_itself[:1])
            table.append([case.name, ranges, len(rows), f"{min(equal):.2f} %", f"{max(apart):.2f}", text])
    head = ["model", "ranges", "files", "decided equally, at least", "figures at most apart, points",
            "ONNX Runtime from itself"]
    with open(os.path.join(work, "imports.md"), "w") as out:
        for row in [head, ["---"] * len(head), *table]:
            out.write("| " + " | ".join(map(str, row)) + " |\n")
    if failed or not seen:
        sys.exit(f"failed: {failed}" if failed else "no case found")
    print(f"{seen} files of ONNX Runtime's quantizer import and give its answers")


if __name__ == "__main__":
    main()
