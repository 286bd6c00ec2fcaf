"""Checks every form of exported file against onnx.checker and ONNX Runtime, and the linter's forecast against what ONNX
Runtime's optimizer really made. Run by `cargo xtask oracle`.

usage: check_targets.py TQ MODELS_DIR WORK_DIR

Small random models of one to three operators are made here; MODELS_DIR holds real ones, one folder a case, or is itself
such a folder. Of each the quantized file is written in every form at operator sets 13, 19, 21 and 25. Fails unless
 * onnx.checker accepts each file with full checks (up to the operator set that it knows);
 * ONNX Runtime (exact integers, extended optimizations) computes from each file what our session computes: for small
   models within one code on 99.9 % of the elements; for real ones the metric within 0.3 points or one sample at all of
   its optimization levels;
 * the number of integer nodes in ONNX Runtime's optimized graph is the linter's forecast.
"""

import collections
import json
import os
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from check_export import flags, load, preprocess

OPSETS = (13, 19, 21, 25)
FORMS = {
    "qdq": [],
    "pairs": ["--weights-as", "float", "--bias-as", "float"],
    "qoperator": ["--form", "qoperator"],
}
LEVELS = {
    "disabled": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
COMPUTES = {
    "QLinearConv", "QLinearMatMul", "QGemm", "QLinearAdd", "QLinearMul", "QLinearConcat", "QLinearAveragePool",
    "QLinearGlobalAveragePool", "QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax", "QLinearReduceMean",
    "QLinearWhere", "MatMulIntegerToFloat", "MatMulInteger", "ConvInteger", "DynamicQuantizeMatMul", "MatMulNBits",
}
FLOAT_RESULT = {"MatMulIntegerToFloat", "DynamicQuantizeMatMul", "MatMulNBits", "MatMulInteger", "ConvInteger"}


def tq(program, *words):
    out = subprocess.run([program, *map(str, words)], capture_output=True, text=True)
    if out.returncode != 0:
        raise RuntimeError(f"tq {' '.join(map(str, words))}: {out.stderr.strip()}")
    return json.loads(out.stdout) if "--json" in words else out.stdout


def session(path, level, optimized=None):
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.add_session_config_entry("session.x64quantprecision", "1")
    if optimized:
        options.optimized_model_filepath = optimized
    options.log_severity_level = 3
    options.intra_op_num_threads = 2
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def integer_nodes(path):
    """What computes on codes in an optimized file. Operators that take both are told by whether codes come in."""
    model = onnx.load(path)
    codes = {t.name for t in model.graph.initializer if t.data_type in (TensorProto.UINT8, TensorProto.INT8)}
    codes |= {i.name for i in model.graph.input
              if i.type.tensor_type.elem_type in (TensorProto.UINT8, TensorProto.INT8)}
    found = collections.Counter()
    for node in model.graph.node:
        reads_codes = bool(node.input) and node.input[0] in codes
        if node.op_type in COMPUTES or (node.op_type == "MaxPool" and reads_codes):
            found[node.op_type] += 1
        if node.op_type in ("QuantizeLinear", "DynamicQuantizeLinear"):
            codes.add(node.output[0])
        elif node.op_type in ("QGemm",) and len(node.input) < 9:
            pass
        elif node.op_type in COMPUTES - FLOAT_RESULT or (reads_codes and node.op_type != "DequantizeLinear"
                                                         and node.op_type not in FLOAT_RESULT):
            codes.update(node.output)
    return found


# Small models -------------------------------------------------------------------------------------------------------

def small_models():
    """Name, nodes, weights, input shapes: f32 data from x (and z) to y."""
    rng = np.random.default_rng(11)
    w = lambda *dims: rng.uniform(-1, 1, dims).astype(np.float32)
    n = helper.make_node
    image, matrix = [2, 4, 9, 9], [5, 24]
    conv = dict(kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    yield "conv", [n("Conv", ["x", "w", "b"], ["y"], **conv)], {"w": w(8, 4, 3, 3), "b": w(8)}, [image]
    yield "conv_plain", [n("Conv", ["x", "w"], ["y"], **conv)], {"w": w(8, 4, 3, 3)}, [image]
    yield "conv_relu", [n("Conv", ["x", "w", "b"], ["c"], **conv), n("Relu", ["c"], ["y"])], \
        {"w": w(8, 4, 3, 3), "b": w(8)}, [image]
    yield "conv_clip", [n("Conv", ["x", "w", "b"], ["c"], **conv), n("Clip", ["c", "lo", "hi"], ["y"])], \
        {"w": w(8, 4, 3, 3), "b": w(8), "lo": np.float32(-0.5), "hi": np.float32(0.75)}, [image]
    yield "depthwise", [n("Conv", ["x", "w", "b"], ["y"], group=4, strides=[2, 2], **conv)], \
        {"w": w(4, 1, 3, 3), "b": w(4)}, [image]
    yield "conv_conv", [n("Conv", ["x", "w", "b"], ["c"], **conv), n("Relu", ["c"], ["r"]),
                        n("Conv", ["r", "v"], ["y"], kernel_shape=[1, 1])], \
        {"w": w(8, 4, 3, 3), "b": w(8), "v": w(3, 8, 1, 1)}, [image]
    yield "conv_transpose", [n("ConvTranspose", ["x", "w", "b"], ["y"], kernel_shape=[2, 2], strides=[2, 2])], \
        {"w": w(4, 3, 2, 2), "b": w(3)}, [image]
    yield "gemm", [n("Gemm", ["x", "w", "b"], ["y"], transB=1)], {"w": w(7, 24), "b": w(7)}, [matrix]
    yield "gemm_relu_gemm", [n("Gemm", ["x", "w", "b"], ["h"]), n("Relu", ["h"], ["r"]),
                             n("Gemm", ["r", "v", "c"], ["y"], transB=1)], \
        {"w": w(24, 16), "b": w(16), "v": w(7, 16), "c": w(7)}, [matrix]
    yield "matmul", [n("MatMul", ["x", "w"], ["y"])], {"w": w(24, 7)}, [matrix]
    yield "matmul_matmul", [n("MatMul", ["x", "w"], ["h"]), n("MatMul", ["h", "v"], ["y"])], \
        {"w": w(24, 16), "v": w(16, 7)}, [matrix]
    yield "products", [n("MatMul", ["x", "z"], ["y"])], {}, [[2, 5, 6], [2, 6, 4]]
    for op in ("Add", "Mul", "Sub"):
        yield op.lower(), [n("Conv", ["x", "w"], ["c"], **conv), n(op, ["c", "z"], ["s"]),
                           n("Conv", ["s", "w"], ["y"], **conv)], {"w": w(4, 4, 3, 3)}, [image, image]
    yield "concat", [n("Conv", ["x", "w"], ["c"], **conv), n("Concat", ["c", "z"], ["s"], axis=1),
                     n("Conv", ["s", "v"], ["y"], **conv)], {"w": w(4, 4, 3, 3), "v": w(4, 8, 3, 3)}, [image, image]
    between = lambda *middle: [n("Conv", ["x", "w"], ["c"], **conv), *middle, n("Conv", ["m", "v"], ["y"], **conv)]
    weights = {"w": w(4, 4, 3, 3), "v": w(4, 4, 3, 3)}
    pool = dict(kernel_shape=[2, 2], strides=[2, 2])
    yield "max_pool", between(n("MaxPool", ["c"], ["m"], **pool)), weights, [image]
    yield "average_pool", between(n("AveragePool", ["c"], ["m"], **pool)), weights, [image]
    yield "global_average_pool", between(n("GlobalAveragePool", ["c"], ["m"])), weights, [image]
    yield "reduce_mean", between(n("ReduceMean", ["c"], ["m"], axes=[2, 3], keepdims=1)), weights, [image]
    yield "global_max_pool", between(n("GlobalMaxPool", ["c"], ["m"])), weights, [image]
    for op in ("Sigmoid", "Tanh", "HardSigmoid", "Elu", "Relu"):
        yield op.lower(), between(n("Relu" if op == "Relu" else op, ["c"], ["m"])), weights, [image]
    yield "leaky_relu", between(n("LeakyRelu", ["c"], ["m"], alpha=0.1)), weights, [image]
    yield "softmax", between(n("Softmax", ["c"], ["m"], axis=1)), weights, [image]
    yield "transpose", between(n("Transpose", ["c"], ["m"], perm=[0, 1, 3, 2])), weights, [image]
    yield "resize", between(n("Resize", ["c", "", "scales"], ["m"], mode="nearest", nearest_mode="floor",
                              coordinate_transformation_mode="asymmetric")), \
        dict(weights, scales=np.array([1, 1, 2, 2], np.float32)), [image]
    yield "pad", between(n("Pad", ["c", "pads"], ["m"])), dict(weights, pads=np.array([0, 0, 1, 1, 0, 0, 1, 1])), [image]
    yield "add_relu", [n("Conv", ["x", "w"], ["c"], **conv), n("Add", ["c", "z"], ["s"]), n("Relu", ["s"], ["r"]),
                       n("Conv", ["r", "w"], ["y"], **conv)], {"w": w(4, 4, 3, 3)}, [image, image]


def make(name, nodes, weights, shapes, folder):
    inputs = [helper.make_tensor_value_info(i, TensorProto.FLOAT, s) for i, s in zip("xz", shapes)]
    constants = [numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, name, inputs, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    model = onnx.shape_inference.infer_shapes(model)
    path = os.path.join(folder, name + ".onnx")
    onnx.save(model, path)
    return path


def quantize_small(program, path, shapes, folder, backend):
    rng = np.random.default_rng(5)
    data, words = {}, []
    for i, shape in zip("xz", shapes):
        data[i] = rng.uniform(-1, 1, shape).astype(np.float32)
        file = os.path.join(folder, f"{i}.npy")
        np.save(file, data[i])
        words.append(f"{i}={file}")
    out = path.replace(".onnx", f".{backend}.int8.onnx")
    tq(program, "quantize", path, "-o", out, "--backend", backend, "--calib", *words, "--json")
    return out, data, words


def check_file(program, path, work, problems, what):
    """Checker, and forecast against ONNX Runtime; gives the session at the extended level."""
    model = onnx.load(path)
    opset = next(o.version for o in model.opset_import if o.domain == "")
    if not any(o.domain == "com.microsoft" for o in model.opset_import) and opset <= onnx.defs.onnx_opset_version():
        onnx.checker.check_model(model, full_check=True)
    optimized = os.path.join(work, "optimized.onnx")
    run = session(path, LEVELS["extended"], optimized)
    real = integer_nodes(optimized)
    forecast = tq(program, "lint", path, "--target", "onnxruntime", "--json")
    if forecast["integer"] != sum(real.values()):
        named = [f"{n['op']} {n['node']}" for n in forecast["nodes"] if n["outcome"] == "integer"]
        problems.append(f"{what}: forecast {forecast['integer']} integer nodes ({', '.join(named)}), "
                        f"ONNX Runtime has {dict(real)}")
    return run, forecast["integer"]


def forms(program, quantized, work):
    for form, words in FORMS.items():
        for opset in OPSETS:
            out = os.path.join(work, f"{form}.{opset}.onnx")
            tq(program, "export", quantized, "-o", out, "--target", "onnx", "--opset", opset, *words, "--json")
            yield f"{form} at {opset}", out


def ours_of(program, model, words, work, extra=()):
    folder = os.path.join(work, "ours")
    tq(program, "run", model, "--input", *words, "--out-dir", folder, *extra)
    name = onnx.load(model, load_external_data=False).graph.output[0].name
    clean = "".join(c if c.isalnum() or c in "._-" else "_" for c in name)
    return np.load(os.path.join(folder, clean + ".npy"))


def output_step(model):
    """One code of the output where it is quantized, else a thousandth of what it can be."""
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.output[0] == model.graph.output[0].name:
            return float(constants[node.input[1]].max())
    return None


def check_small(program, work):
    problems, files = [], 0
    for backend in ("fbgemm", "tensorrt"):
        for name, nodes, weights, shapes in small_models():
            path = make(name, nodes, weights, shapes, work)
            quantized, data, words = quantize_small(program, path, shapes, work, backend)
            ours = ours_of(program, quantized, words, work)
            step = output_step(onnx.load(quantized)) or float(np.abs(ours).max()) / 255
            for form, out in forms(program, quantized, work):
                files += 1
                what = f"{name} for {backend}, {form}"
                try:
                    run, _ = check_file(program, out, work, problems, what)
                    theirs = run.run(None, {i.name: data[i.name] for i in run.get_inputs()})[0]
                except Exception as e:  # whatever either says of a file is the finding
                    problems.append(f"{what}: {str(e).splitlines()[0]}")
                    continue
                near = np.abs(ours - theirs) <= step * 1.001
                if near.mean() < 0.999:
                    problems.append(f"{what}: {near.mean() * 100:.2f} % within one code")
    return files, problems


# Real models --------------------------------------------------------------------------------------------------------

def top1(scores, labels):
    return (scores.argmax(1) == labels).mean() * 100


def check_real(program, folder, work):
    problems = []
    case = json.load(open(os.path.join(folder, "case.json")))
    name, how = case["case"], case.get("preprocess")
    quantized = os.path.join(work, name + ".int8.onnx")
    calib, evaluation, labels = (os.path.join(folder, case[k]) for k in ("calib", "eval", "labels"))
    tq(program, "quantize", os.path.join(folder, case["model"]), "-o", quantized, "--calib", calib, "--json", *flags(how))
    y = load(labels)
    limit = int(os.environ.get("TQ_ORACLE_SAMPLES", "0")) or len(y)
    x, y = load(evaluation)[:limit], y[:limit]
    stored = os.path.join(work, "stored.npy")
    np.save(stored, x)
    ours = ours_of(program, quantized, [stored], work, flags(how))
    ours = ours.reshape(len(ours), -1)
    mine = top1(ours, y)
    x = preprocess(x, how)
    step = output_step(onnx.load(quantized)) or 0.0
    top = np.sort(ours, axis=1)
    tie = (top[:, -1] - top[:, -2]) <= step * 1.001
    counts = set()
    for form, out in forms(program, quantized, work):
        what = f"{name}, {form}"
        _, integer = check_file(program, out, work, problems, what)
        counts.add(f"{form.split()[0]} {integer}")
        if not form.endswith(" 13"):
            continue
        for level, value in LEVELS.items():
            run = session(out, value)
            at = run.get_inputs()[0]
            batch = at.shape[0] if isinstance(at.shape[0], int) else 32
            theirs = np.concatenate([run.run(None, {at.name: x[i:i + batch]})[0] for i in range(0, len(x), batch)])
            theirs = theirs.reshape(len(theirs), -1)
            equal = ((ours.argmax(1) == theirs.argmax(1)) | tie).mean() * 100
            their = top1(theirs, y)
            print(f"  {what}, {level}: top-1 {their:.3f}, ours {mine:.3f}, argmax equal {equal:.2f} %", flush=True)
            if abs(mine - their) > max(0.3, 100.0 / len(y)) + 1e-9 or equal < 99:
                problems.append(f"{what}, {level}: top-1 {their:.3f} against {mine:.3f}, argmax equal {equal:.2f} %")
    print(f"{name}: integer nodes {', '.join(sorted(counts))}", flush=True)
    return problems


def main():
    program, models, work = sys.argv[1:]
    os.makedirs(work, exist_ok=True)
    files, problems = check_small(program, work)
    print(f"small models: {files} files, {len(problems)} problems", flush=True)
    folders = [models] if os.path.exists(os.path.join(models, "case.json")) else [
        os.path.join(models, d) for d in sorted(os.listdir(models))]
    for folder in folders:
        path = os.path.join(folder, "case.json")
        if not os.path.exists(path):
            continue
        case = json.load(open(path))
        if "top1" not in str(case.get("metric")) or case["case"].endswith("lstm"):
            print(f"{case['case']}: SKIPPED: needs a metric or inputs that this check does not have")
            continue
        problems += check_real(program, folder, work)
    for problem in problems:
        print(f"  {problem}")
    if problems:
        sys.exit(f"{len(problems)} problems")


if __name__ == "__main__":
    main()
