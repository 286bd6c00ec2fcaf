"""Checks every form of exported file against onnx.checker and ONNX Runtime, and the linter's forecast against what ONNX
Runtime's optimizer really made. Run by `cargo xtask oracle`.

usage: check_targets.py TQ WORK_DIR

Small random models of one to three operators are made here, quantized for x86 and for TensorRT, and written for ONNX Runtime
in every form at operator sets 13, 19, 21 and 25. Fails unless
 * onnx.checker accepts each file with full checks (up to the operator set that it knows);
 * ONNX Runtime (exact integers) computes from each file what our session computes: within one code on 99.9 % of the
   elements, without optimizations and with extended ones. Where its optimized answers are further than that from its own
   others, these alone count, and the departure is told;
 * of the same models with weights of two bits, ONNX Runtime loads exactly those that the linter does not refuse, and computes
   what our session does;
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
# The average of four codes is exactly between two others every fourth time. Which one it becomes is left to the last bit of
# floats, in ONNX Runtime too, whose answers differ by the operator set; a convolution behind makes several codes of one.
FORECAST_ALONE = {"average_pool_between"}
# Weights of two bits, of which ONNX Runtime makes operators that it then does not load.
TWO_BITS = """
backend = "fbgemm"
[global.weight]
observer = "per_channel_min_max"
spec = { dtype = "i2", quant_min = -2, quant_max = 1, scheme = "symmetric", granularity = { per_channel = { axis = 0 } } }
"""
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
    yield "average_pool", [n("Conv", ["x", "w"], ["c"], **conv), n("AveragePool", ["c"], ["y"], **pool)], \
        {"w": w(4, 4, 3, 3)}, [image]
    yield "average_pool_between", between(n("AveragePool", ["c"], ["m"], **pool)), weights, [image]
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
    for op in ("Add", "Mul", "Sub", "Div"):
        yield f"sigmoid_{op.lower()}_scalar", between(n("Sigmoid", ["c"], ["g"]), n(op, ["g", "k"], ["m"])), \
            dict(weights, k=np.float32(1.5)), [image]
    for op in ("Add", "Mul", "Div"):
        yield f"{op.lower()}_channels", between(n("Sigmoid", ["c"], ["g"]), n(op, ["g", "k"], ["m"])), \
            dict(weights, k=w(1, 4, 1, 1) + np.float32(2)), [image]
    mask = rng.uniform(size=(9, 9)) > 0.5
    yield "where_scalar", between(n("Where", ["mask", "c", "k"], ["m"])), \
        dict(weights, mask=mask, k=np.float32(0.5)), [image]
    yield "where_two", [n("Conv", ["x", "w"], ["c"], **conv), n("Conv", ["x", "v"], ["d"], **conv),
                        n("Where", ["mask", "c", "d"], ["m"]), n("Conv", ["m", "v"], ["y"], **conv)], \
        dict(weights, mask=mask), [image]
    yield "where_channels", between(n("Where", ["mask", "c", "k"], ["m"])), \
        dict(weights, mask=mask, k=w(1, 4, 1, 1)), [image]
    norm = n("LayerNormalization", ["a", "s", "t"], ["y"], axis=-1)
    rows = {"w": w(24, 16), "b": w(16), "s": w(16), "t": w(16)}
    for name, shape in (("matmul_bias_norm", [2, 5, 24]), ("matmul_bias_norm_2d", [5, 24])):
        yield name, [n("MatMul", ["x", "w"], ["h"]), n("Add", ["h", "b"], ["a"]), norm], rows, [shape]
    yield "matmul_bias", [n("MatMul", ["x", "w"], ["h"]), n("Add", ["h", "b"], ["y"])], \
        {"w": w(24, 16), "b": w(16)}, [[2, 5, 24]]
    yield "matmul_bias_matmul", [n("MatMul", ["x", "w"], ["h"]), n("Add", ["h", "b"], ["a"]),
                                 n("MatMul", ["a", "v"], ["y"])], \
        {"w": w(24, 16), "b": w(16), "v": w(16, 7)}, [[2, 5, 24]]
    yield "matmul_left", [n("MatMul", ["w", "x"], ["h"]), n("MatMul", ["h", "v"], ["y"])], \
        {"w": w(6, 5), "v": w(24, 7)}, [[5, 24]]
    yield "two_readers", [n("Conv", ["x", "w"], ["c"], **conv), n("Conv", ["x", "v"], ["d"], **conv),
                          n("Add", ["c", "d"], ["y"])], weights, [image]
    yield "residual", [n("Conv", ["x", "w"], ["c"], **conv), n("Conv", ["c", "v"], ["d"], **conv),
                       n("Add", ["c", "d"], ["s"]), n("Relu", ["s"], ["r"]),
                       n("Conv", ["r", "v"], ["y"], **conv)], weights, [image]
    yield "concat_residual", [n("Conv", ["x", "w"], ["c"], **conv), n("MaxPool", ["c"], ["p"], kernel_shape=[3, 3],
                              pads=[1, 1, 1, 1]), n("Concat", ["c", "p"], ["s"], axis=1),
                              n("Conv", ["s", "u"], ["y"], **conv)], dict(weights, u=w(4, 8, 3, 3)), [image]
    yield "add_relu", [n("Conv", ["x", "w"], ["c"], **conv), n("Add", ["c", "z"], ["s"]), n("Relu", ["s"], ["r"]),
                       n("Conv", ["r", "w"], ["y"], **conv)], {"w": w(4, 4, 3, 3)}, [image, image]


def make(name, nodes, weights, shapes, folder):
    inputs = [helper.make_tensor_value_info(i, TensorProto.FLOAT, s) for i, s in zip("xz", shapes)]
    constants = [numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, name, inputs, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model = onnx.shape_inference.infer_shapes(model)
    path = os.path.join(folder, name + ".onnx")
    onnx.save(model, path)
    return path


# Weights alone are quantized.
WEIGHT_RECIPES = ("w8", "w4")


def quantize_small(program, path, shapes, folder, how):
    """Quantizes for a backend, or by a recipe that quantizes weights alone."""
    rng = np.random.default_rng(5)
    data, words = {}, []
    for i, shape in zip("xz", shapes):
        data[i] = rng.uniform(-1, 1, shape).astype(np.float32)
        file = os.path.join(folder, f"{i}.npy")
        np.save(file, data[i])
        words.append(f"{i}={file}")
    out = path.replace(".onnx", f".{os.path.basename(how)}.quantized.onnx")
    if how in WEIGHT_RECIPES:
        words_of = ["--recipe", how]
    else:
        words_of = ["--config" if os.path.isfile(how) else "--backend", how, "--calib", *words]
    tq(program, "quantize", path, "-o", out, "--json", *words_of)
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


def forms(program, quantized, work, opsets=OPSETS):
    lowest = next(o.version for o in onnx.load(quantized).opset_import if not o.domain)
    for form, words in FORMS.items():
        for opset in (o for o in opsets if o >= lowest):
            out = os.path.join(work, f"{form}.{opset}.onnx")
            tq(program, "export", quantized, "-o", out, "--target", "onnxruntime", "--opset", opset, *words, "--json")
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
    for backend in ("fbgemm", "tensorrt", *WEIGHT_RECIPES):
        for name, nodes, weights, shapes in small_models():
            if backend in WEIGHT_RECIPES and not name.startswith(("gemm", "matmul")):
                continue
            path = make(name, nodes, weights, shapes, work)
            quantized, data, words = quantize_small(program, path, shapes, work, backend)
            ours = ours_of(program, quantized, words, work)
            step = output_step(onnx.load(quantized)) or float(np.abs(ours).max()) / 255
            # What the linter refuses: ONNX Runtime does not load it with extended optimizations.
            opsets = (13, 19) if (name, backend) == ("matmul_bias_norm", "tensorrt") else OPSETS
            for form, out in forms(program, quantized, work, opsets):
                files += 1
                what = f"{name} for {backend}, {form}"
                try:
                    run, _ = check_file(program, out, work, problems, what)
                    answer = lambda run: run.run(None, {i.name: data[i.name] for i in run.get_inputs()})[0]
                    plain, optimized = answer(session(out, LEVELS["disabled"])), answer(run)
                except Exception as e:  # whatever either says of a file is the finding
                    problems.append(f"{what}: {str(e).splitlines()[0]}")
                    continue
                if name in FORECAST_ALONE:
                    continue
                # ONNX Runtime rounds the activations of such products to 8 bits itself.
                if backend in WEIGHT_RECIPES:
                    optimized = plain
                near = lambda a, b: (np.abs(a - b) <= step * 1.001).mean() * 100
                if near(ours, plain) < 99.9:
                    problems.append(f"{what}: {near(ours, plain):.2f} % within one code, not optimized")
                if near(plain, optimized) < 99.9:
                    print(f"  {what}: ONNX Runtime's own answers are within one code on {near(plain, optimized):.2f} % "
                          "with and without optimizations", flush=True)
                elif near(ours, optimized) < 99.9:
                    problems.append(f"{what}: {near(ours, optimized):.2f} % within one code, optimized")
    return files, problems


def check_two_bits(program, work):
    config = os.path.join(work, "two_bits.toml")
    with open(config, "w") as file:
        file.write(TWO_BITS)
    problems, loaded, refused = [], 0, 0
    for name, nodes, weights, shapes in small_models():
        path = make(name, nodes, weights, shapes, work)
        quantized, data, words = quantize_small(program, path, shapes, work, config)
        # Exits with an error where something is refused, after the report.
        lint = subprocess.run([program, "lint", quantized, "--target", "onnxruntime", "--json"], capture_output=True)
        refuses = json.loads(lint.stdout)["refused"] > 0
        try:
            run = session(quantized, LEVELS["extended"])
        except Exception as e:  # whatever it says, it does not load the file
            refused += 1
            if not refuses:
                problems.append(f"{name} of two bits: not refused, but {str(e).splitlines()[0]}")
            continue
        loaded += 1
        if refuses:
            problems.append(f"{name} of two bits: refused, but ONNX Runtime loads it")
        if name in FORECAST_ALONE:
            continue
        ours = ours_of(program, quantized, words, work)
        theirs = run.run(None, {i.name: data[i.name] for i in run.get_inputs()})[0]
        step = output_step(onnx.load(quantized)) or float(np.abs(ours).max()) / 255
        near = (np.abs(ours - theirs) <= step * 1.001).mean() * 100
        if near < 99.9:
            problems.append(f"{name} of two bits: {near:.2f} % within one code")
    print(f"weights of two bits: {loaded} models load, {refused} do not", flush=True)
    return problems


def main():
    program, work = sys.argv[1:]
    os.makedirs(work, exist_ok=True)
    files, problems = check_small(program, work)
    problems += check_two_bits(program, work)
    print(f"small models: {files} files, {len(problems)} problems", flush=True)
    for problem in problems:
        print(f"  {problem}")
    if problems:
        sys.exit(f"{len(problems)} problems")


if __name__ == "__main__":
    main()
