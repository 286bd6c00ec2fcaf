"""Checks that files of ONNX Runtime's quantizer import and give its answers. Run by `cargo xtask oracle`.

usage: check_import.py TQ MODELS_DIR WORK_DIR

Every case of MODELS_DIR is quantized in all forms of benches/peers/quantize.py. Each file runs in our session and in ONNX
Runtime with exact products and basic optimizations. Fails unless top-1 is within 0.3 points or one sample, and the argmax
equal on at least 99 % of the samples, a gap of one output code between the two best counting as equal; and unless
`tq inspect` finds integer nodes in every static file.
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

import quantize  # noqa: E402
from check_export import flags  # noqa: E402

ROWS = 1000


def step(model):
    """The scale of the output's codes; 0 where the output is no codes."""
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.output[0] == model.graph.output[0].name:
            return float(constants[node.input[1]].max())
    return 0.0


def answers(path, x):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 3
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    out = np.concatenate([session.run(None, {name: x[i : i + 32]})[0] for i in range(0, len(x), 32)])
    return out.reshape(len(out), -1)


def check(tq, folder, case, form, work):
    path = os.path.join(work, form + ".onnx")
    how = case.get("preprocess")
    stored = quantize.load(os.path.join(folder, case["eval"]))[:ROWS]
    labels = quantize.load(os.path.join(folder, case["labels"]))[:ROWS]
    rows = os.path.join(work, "rows.npy")
    np.save(rows, stored)
    # One batch at a time in both, as ranges found at run time are those of a batch.
    subprocess.run([tq, "run", path, "--input", rows, "--batch", "32", "--out-dir", work] + flags(how), check=True,
                   stdout=subprocess.DEVNULL)
    model = onnx.load(path)
    clean = "".join(c if c.isalnum() or c in "._-" else "_" for c in model.graph.output[0].name)
    ours = np.load(os.path.join(work, clean + ".npy")).reshape(len(stored), -1)
    theirs = answers(path, quantize.preprocess(stored, how))
    top = np.sort(theirs, axis=1)
    tie = (top[:, -1] - top[:, -2]) <= step(model) * 1.001
    equal = (ours.argmax(1) == theirs.argmax(1)) | tie
    a, b = (ours.argmax(1) == labels).mean() * 100, (theirs.argmax(1) == labels).mean() * 100
    seen = json.loads(subprocess.run([tq, "inspect", path, "--json"], check=True, capture_output=True).stdout)
    integer = len(seen["quantizable"])
    same = (ours == theirs).mean() * 100
    print(f"{case['case']} {form}: top-1 ours {a:.2f} ONNX Runtime {b:.2f}; argmax equal {equal.mean() * 100:.2f} %; "
          f"outputs identical {same:.2f} %; {integer} integer nodes")
    close = abs(a - b) <= max(0.3, 100.0 / len(labels)) + 1e-9 and equal.mean() >= 0.99
    return close and (integer > 0 or not form.startswith("q"))


def main():
    tq, models, work = sys.argv[1:]
    folders = [models] if os.path.exists(os.path.join(models, "case.json")) else [
        os.path.join(models, d) for d in sorted(os.listdir(models))]
    failed, seen = [], 0
    for folder in folders:
        path = os.path.join(folder, "case.json")
        if not os.path.exists(path):
            continue
        case = json.load(open(path))
        if "top1" not in str(case.get("metric")) or case["case"].endswith("lstm"):
            print(f"{case['case']}: SKIPPED: needs inputs or a metric that this check does not have")
            continue
        own = os.path.join(work, case["case"])
        for form in quantize.make(folder, own):
            seen += 1
            try:
                fine = check(tq, folder, case, form, own)
            except subprocess.CalledProcessError as error:
                print(f"{case['case']} {form}: {error}")
                fine = False
            if not fine:
                failed.append(f"{case['case']} {form}")
    if failed or not seen:
        sys.exit(f"failed: {failed}" if failed else "no case found")
    print(f"{seen} files of ONNX Runtime's quantizer import and give its answers")


if __name__ == "__main__":
    main()
