"""Checks files of single quantized forms against onnx.checker and ONNX Runtime. Run by `cargo xtask oracle`.

usage: check_forms.py FOLDER

FOLDER holds for each form NAME.onnx and NAME.safetensors, which has its inputs x0, x1, ... and our result y; the test
`exported_forms` of tq-runtime leaves them there.
Fails unless, for every form: the checker accepts the file, and of what ONNX Runtime makes of it, with and without
optimizations, 99.9 % (all but one of less than a thousand) are within one code of ours. A code is that of the quantized
output; of outputs that are not quantized the 255th part of their range.
"""

import collections
import json
import os
import struct
import sys

import numpy as np
import onnx
import onnxruntime as ort

TYPES = {"F32": np.float32, "I64": np.int64}


def tensors(path):
    data = open(path, "rb").read()
    (length,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    return {
        name: np.frombuffer(body[slice(*t["data_offsets"])], TYPES[t["dtype"]]).reshape(t["shape"])
        for name, t in header.items() if name != "__metadata__"
    }


def code(model, y):
    """The step of the output's codes."""
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.output[0] == model.graph.output[0].name:
            return float(constants[node.input[1]].max())
    return float(y.max() - y.min()) / 255


def check(folder, name):
    path = os.path.join(folder, name + ".onnx")
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    data = tensors(os.path.join(folder, name + ".safetensors"))
    y = data.pop("y")
    step = code(model, y)
    good, said = True, []
    for level in (ort.GraphOptimizationLevel.ORT_DISABLE_ALL, ort.GraphOptimizationLevel.ORT_ENABLE_ALL):
        options = ort.SessionOptions()
        options.graph_optimization_level = level
        options.add_session_config_entry("session.x64quantprecision", "1")
        optimized = os.path.join(folder, name + ".ort.onnx")
        options.optimized_model_filepath = optimized
        options.log_severity_level = 3
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        theirs = session.run(None, data)[0]
        off = np.abs(theirs.astype(np.float64) - y) / step
        outside = int((off > 1.001).sum())
        good &= theirs.shape == y.shape and outside <= max(1, y.size // 1000)
        said.append(f"{100 * (off <= 0.001).mean():.2f} % equal, {outside} of {y.size} off by more than a code "
                    f"(at most {off.max():.2f})")
    ops = collections.Counter(n.op_type for n in onnx.load(optimized).graph.node)
    print(f"{name}: opset {model.opset_import[0].version}, checker ok; {said[0]}; optimized: {said[1]}; {dict(ops)}")
    return good


def main():
    folder = sys.argv[1]
    names = sorted(f[: -len(".safetensors")] for f in os.listdir(folder) if f.endswith(".safetensors"))
    failed = []
    for name in names:
        try:
            good = check(folder, name)
        except Exception as e:  # The errors of ONNX Runtime have no class of their own.
            print(f"{name}: {str(e)[:300]}")
            good = False
        if not good:
            failed.append(name)
    if failed or not names:
        sys.exit(f"failed: {failed}" if failed else "no form found")


if __name__ == "__main__":
    main()
