"""Checks quantized ONNX files against onnx.checker and ONNX Runtime. Run by `cargo xtask oracle`.

usage: check_export.py TQ MODELS_DIR WORK_DIR

MODELS_DIR holds one folder a case (model.onnx, case.json, arrays), or is itself such a folder. Each is quantized with
calibrated ranges, and with those of every run without and with convolutions.
Fails unless, for every case and recipe: the checker accepts the file, ONNX Runtime's top-1 is within 0.3 points or one
sample of ours, and the argmax is equal on at least 99 % of the samples (a gap of one output code between
the two best counting as equal).
"""

import collections
import json
import os
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime as ort

INTEGER = {
    "QLinearConv", "QLinearMatMul", "QGemm", "QLinearAdd", "QLinearMul", "QLinearConcat", "QLinearAveragePool",
    "QLinearGlobalAveragePool", "QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax", "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul", "MatMulInteger", "ConvInteger",
}
BATCH = 32
RECIPES = ("int8", "int8-dynamic", "int8-dynamic-all")


def load(path):
    data = np.load(path)
    return data[data.files[0]] if hasattr(data, "files") else data


def preprocess(x, how):
    if x.dtype == np.float32 or not how:
        return x.astype(np.float32)
    x = x.astype(np.float32) * np.float32(how.get("scale", 1.0))
    shape = (1, -1) + (1,) * (x.ndim - 2)
    for key, apply in (("mean", np.subtract), ("std", np.divide)):
        if key in how:
            x = apply(x, np.array(how[key], np.float32).reshape(shape))
    return x


def flags(how):
    out = []
    for key in ("scale", "mean", "std"):
        if how and key in how:
            value = how[key]
            out += [f"--{key}", ",".join(map(str, value)) if isinstance(value, list) else str(value)]
    return out


def output_scale(model):
    """Scale of the output's codes, or 0 where the output is not quantized."""
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.output[0] == model.graph.output[0].name:
            return float(constants[node.input[1]].max())
    return 0.0


def session(path, optimized):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.optimized_model_filepath = optimized
    options.log_severity_level = 3
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def check(tq, folder, work, recipe):
    case = json.load(open(os.path.join(folder, "case.json")))
    name, how = case["case"], case.get("preprocess")
    os.makedirs(work, exist_ok=True)
    out = os.path.join(work, f"{name}.{recipe}.onnx")
    calib, evaluation, labels = (os.path.join(folder, case[k]) for k in ("calib", "eval", "labels"))
    data = ["--calib", calib] + flags(how) if recipe == "int8" else []
    subprocess.run(
        [tq, "quantize", os.path.join(folder, case["model"]), "-o", out, "--recipe", recipe, "--json"] + data,
        check=True, stdout=subprocess.DEVNULL)
    model = onnx.load(out)
    onnx.checker.check_model(model, full_check=True)

    # What is quantized at run time depends on what else is in the batch.
    subprocess.run([tq, "run", out, "--input", evaluation, "--out-dir", work, "--batch", str(BATCH)] + flags(how),
                   check=True, stdout=subprocess.DEVNULL)
    clean = "".join(c if c.isalnum() or c in "._-" else "_" for c in model.graph.output[0].name)
    ours = np.load(os.path.join(work, clean + ".npy"))
    ours = ours.reshape(ours.shape[0], -1)

    optimized = os.path.join(work, f"{name}.{recipe}.ort.onnx")
    run = session(out, optimized)
    x = preprocess(load(evaluation), how)
    theirs = np.concatenate([run.run(None, {run.get_inputs()[0].name: x[i:i + BATCH]})[0] for i in range(0, len(x), BATCH)])
    theirs = theirs.reshape(theirs.shape[0], -1)

    y = load(labels)
    top = np.sort(ours, axis=1)
    tie = (top[:, -1] - top[:, -2]) <= output_scale(model) * 1.001
    equal = (ours.argmax(1) == theirs.argmax(1)) | tie
    a, b = (ours.argmax(1) == y).mean() * 100, (theirs.argmax(1) == y).mean() * 100
    ops = collections.Counter(n.op_type for n in onnx.load(optimized).graph.node)
    integer = sum(v for k, v in ops.items() if k in INTEGER)
    print(f"{name} by {recipe}: opset {model.opset_import[0].version}, checker ok; top-1 ours {a:.3f} ONNX Runtime {b:.3f}; "
          f"argmax equal {equal.mean() * 100:.2f} %; {integer} integer nodes of {dict(ops)}")
    return abs(a - b) <= max(0.3, 100.0 / len(y)) + 1e-9 and equal.mean() >= 0.99


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
        if "top1" not in str(case.get("metric")):
            print(f"{case['case']}: SKIPPED: needs operators or a metric that this check does not have")
            continue
        for recipe in RECIPES:
            seen += 1
            if not check(tq, folder, work, recipe):
                failed.append(f"{case['case']} by {recipe}")
    if failed or not seen:
        sys.exit(f"failed: {failed}" if failed else "no case found")


if __name__ == "__main__":
    main()
