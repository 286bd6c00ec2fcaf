#!/usr/bin/env python3
"""Makes ort_quantized.zip: small models as ONNX Runtime's quantizer writes them, with the outputs of ONNX Runtime.

    python -m venv venv && venv/bin/pip install numpy onnx==1.23.2 onnxruntime==1.32.0 onnx_ir
    venv/bin/python make_ort_quantized.py ort_quantized.zip

In the archive: `<case>/model.onnx`, `<case>/input_<i>.pb`, `<case>/output_<i>.pb` (TensorProto messages). The names of
the cases begin with the form: `qop` (operators on codes), `qdq`, `dynamic`, `nbits` (MatMulNBits and 4-bit codes), `one`
(single operators of the domain com.microsoft, written by hand). Weights and data are random, of a fixed seed; ranges come
from the data. ONNX Runtime runs without optimizations and with exact products (session.x64quantprecision).
"""

import pathlib
import sys
import tempfile
import zipfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

ort.set_default_logger_severity(4)
N = np.random.RandomState(5)


def data(*dims, lo=-1.0, hi=1.0):
    return N.uniform(lo, hi, dims).astype(np.float32)


def ints(*values):
    return np.array(values, np.int64)


class Net:
    """A float network under construction."""

    def __init__(self, **inputs):
        self.inputs = inputs
        self.nodes, self.constants = [], []

    def constant(self, value):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def add(self, op, *inputs, outputs=1, domain="", **attributes):
        """Adds a node; arrays among the inputs become constants."""
        names = [i if isinstance(i, str) else self.constant(i) for i in inputs]
        given = [f"v{len(self.nodes)}_{k}" for k in range(outputs)]
        self.nodes.append(
            helper.make_node(op, names, given, name=f"{op}_{len(self.nodes)}", domain=domain, **attributes)
        )
        return given[0] if outputs == 1 else given

    def model(self, *outputs, opset=17):
        infos = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in self.inputs.items()]
        outs = [helper.make_tensor_value_info(o, TensorProto.UNDEFINED, None) for o in outputs]
        for o in outs:
            o.type.Clear()
        graph = helper.make_graph(self.nodes, "net", infos, outs, self.constants)
        opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        return model


class Reader(CalibrationDataReader):
    def __init__(self, inputs):
        self.batches = iter([inputs])

    def get_next(self):
        return next(self.batches, None)


def weights(*dims):
    """Weights that keep the size of the data, with channels of different ranges."""
    w = data(*dims) / np.float32(np.sqrt(np.prod(dims[1:]) / 3.0))
    return w * np.linspace(0.4, 1.6, dims[0], dtype=np.float32).reshape(-1, *[1] * (len(dims) - 1))


def conv(net, x, out, size, bias=True, **attributes):
    w = weights(out, size, 3, 3)
    given = [w] + ([data(out)] if bias else [])
    return net.add("Conv", x, *given, **({"pads": [1, 1, 1, 1]} | attributes))


def pictures():
    return Net(x=data(2, 3, 9, 8))


def rows():
    return Net(x=data(5, 12))


# Networks of few operators: each function builds one, and gives the model.


def net_conv():
    net = pictures()
    y = conv(net, "x", 8, 3)
    y = net.add("Relu", y)
    y = conv(net, y, 6, 8, bias=False, strides=[2, 2])
    return net, [conv(net, y, 6, 1, group=6)]


def net_matmul():
    net = rows()
    return net, [net.add("MatMul", net.add("Relu", net.add("MatMul", "x", weights(12, 7))), weights(7, 4))]


def net_gemm():
    net = rows()
    y = net.add("Gemm", "x", weights(7, 12), data(7), transB=1)
    return net, [net.add("Gemm", net.add("Relu", y), weights(7, 3), data(3))]


def net_attention():
    net = Net(x=data(2, 5, 8))
    q, k = (net.add("MatMul", "x", weights(8, 8)) for _ in range(2))
    scores = net.add("MatMul", q, net.add("Transpose", k, perm=[0, 2, 1]))
    return net, [net.add("MatMul", net.add("Softmax", scores, axis=-1), "x")]


def net_residual():
    net = pictures()
    y = conv(net, "x", 4, 3)
    z = conv(net, y, 4, 4)
    y = net.add("Relu", net.add("Add", y, z))
    return net, [net.add("Mul", y, net.add("Sigmoid", conv(net, y, 4, 4)))]


def net_concat():
    net = pictures()
    branches = [conv(net, "x", n, 3) for n in (3, 4, 5)]
    return net, [conv(net, net.add("Concat", *branches, axis=1), 4, 12)]


def net_pools():
    net = pictures()
    y = conv(net, "x", 8, 3)
    y = net.add("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])
    y = conv(net, y, 8, 8)
    y = net.add("AveragePool", y, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    y = net.add("GlobalAveragePool", y)
    return net, [net.add("Gemm", net.add("Flatten", y), weights(8, 3), data(3))]


def net_padded_pools():
    net = pictures()
    y = net.add("AveragePool", conv(net, "x", 4, 3), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 0, 1, 1], count_include_pad=1)
    return net, [net.add("AveragePool", y, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])]


def net_activations():
    net = pictures()
    y = net.add("LeakyRelu", conv(net, "x", 4, 3), alpha=0.2)
    return net, [net.add("Sigmoid", conv(net, y, 4, 4))]


def net_softmax(opset):
    net = Net(x=data(3, 4, 6))
    y = net.add("MatMul", "x", weights(6, 5) * np.float32(4))
    return net, [net.add("Softmax", y, axis=1 if opset < 13 else -1)]


def net_movement():
    net = Net(x=data(2, 4, 6, 6))
    y = conv(net, "x", 8, 4)
    y = net.add("Pad", y, ints(0, 0, 1, 0, 0, 0, 0, 2), np.float32(0))
    a, b = net.add("Split", y, ints(4, 4), outputs=2, axis=1)
    y = net.add("Add", a, b)
    y = net.add("Transpose", y, perm=[0, 2, 3, 1])
    y = net.add("Reshape", y, ints(2, -1, 4))
    y = net.add("Unsqueeze", net.add("Squeeze", net.add("Unsqueeze", y, ints(1)), ints(1)), ints(0))
    y = net.add("Gather", y, ints(3, 0, 2), axis=3)
    return net, [net.add("MatMul", y, weights(3, 5))]


def net_resize():
    net = pictures()
    y = conv(net, "x", 4, 3)
    y = net.add("Resize", y, "", np.array([1, 1, 2, 2], np.float32), mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric")
    return net, [conv(net, y, 3, 4)]


def net_clip():
    net = pictures()
    y = net.add("Clip", conv(net, "x", 6, 3), np.float32(0), np.float32(0.6))
    return net, [conv(net, y, 4, 6)]


def net_where():
    net = Net(x=data(3, 6), c=N.rand(3, 6) > 0.5)
    a, b = (net.add("MatMul", "x", weights(6, 6)) for _ in range(2))
    return net, [net.add("Where", "c", a, b)]


def net_transposed():
    net = pictures()
    y = net.add("ConvTranspose", conv(net, "x", 4, 3), weights(4, 3, 2, 2), data(3), strides=[2, 2])
    return net, [conv(net, y, 4, 3)]


def net_embedding():
    net = Net(i=N.randint(0, 9, (2, 4)).astype(np.int64))
    return net, [net.add("MatMul", net.add("Gather", data(9, 8), "i"), weights(8, 5))]


def net_lstm():
    net = Net(x=data(6, 2, 5))
    w, r, b = data(1, 16, 5), data(1, 16, 4), data(1, 32)
    y, h, c = net.add("LSTM", "x", w, r, b, outputs=3, hidden_size=4)
    return net, [y, h, c]


def net_lstm_both():
    net = Net(x=data(5, 3, 6))
    w, r, b = data(2, 12, 6), data(2, 12, 3), data(2, 24)
    y, h, c = net.add("LSTM", "x", w, r, b, outputs=3, hidden_size=3, direction="bidirectional")
    return net, [y, h]


STATIC = {
    "conv": net_conv,
    "matmul": net_matmul,
    "gemm": net_gemm,
    "attention": net_attention,
    "residual": net_residual,
    "concat": net_concat,
    "pools": net_pools,
    "padded_pools": net_padded_pools,
    "activations": net_activations,
    "softmax": lambda: net_softmax(17),
    "movement": net_movement,
    "resize": net_resize,
    "clip": net_clip,
    "where": net_where,
    "transposed": net_transposed,
    "embedding": net_embedding,
}


def int_types(name):
    return {"u": QuantType.QUInt8, "s": QuantType.QInt8, "U": QuantType.QUInt16, "S": QuantType.QInt16, "4": QuantType.QInt4, "n": QuantType.QUInt4}[name]


def quantized(net, outputs, how, opset=17):
    """The model that ONNX Runtime's quantizer makes; `how` quantizes one file to another."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = (str(pathlib.Path(folder) / n) for n in ("float.onnx", "quantized.onnx"))
        onnx.save(onnx.shape_inference.infer_shapes(net.model(*outputs, opset=opset)), source)
        how(source, target)
        return onnx.load(target)


def static(form, types, per_channel=False, opset=17, **extra):
    formats = {"qop": QuantFormat.QOperator, "qdq": QuantFormat.QDQ}
    return lambda net, outputs: quantized(
        net,
        outputs,
        lambda source, target: quantize_static(
            source, target, Reader(net.inputs), quant_format=formats[form], per_channel=per_channel,
            activation_type=int_types(types[0]), weight_type=int_types(types[1]), **extra,
        ),
        opset,
    )


def dynamic(types, per_channel=False):
    return lambda net, outputs: quantized(
        net, outputs,
        lambda source, target: quantize_dynamic(source, target, weight_type=int_types(types), per_channel=per_channel),
    )


def n_bits(bits, block, symmetric, size):
    from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

    net = Net(x=data(3, size))
    y = net.add("MatMul", "x", weights(size, 8))
    model = net.model(net.add("MatMul", net.add("Relu", y), weights(8, 6)), opset=21)
    config = DefaultWeightOnlyQuantConfig(block_size=block, is_symmetric=symmetric, accuracy_level=1, bits=bits)
    quantizer = MatMulNBitsQuantizer(model, algo_config=config)
    quantizer.process()
    return net, quantizer.model.model


def codes(dtype, *dims):
    info = np.iinfo(dtype)
    return N.randint(info.min, info.max + 1, dims).astype(dtype)


def single(op, inputs, outputs=1, opset=17, attributes=None, **others):
    """One node; arrays in a tuple are constants."""
    attributes = others | (attributes or {})
    given = {f"i{k}": a for k, a in enumerate(inputs) if isinstance(a, np.ndarray)}
    net = Net(**given)
    names = [f"i{k}" if isinstance(a, np.ndarray) else ("" if a is None else a[0]) for k, a in enumerate(inputs)]
    y = net.add(op, *names, outputs=outputs, domain="com.microsoft", **attributes)
    return net, net.model(*([y] if outputs == 1 else y), opset=opset)


def f(*values):
    return (np.array(values[0] if len(values) == 1 else values, np.float32),)


def singles():
    for t, z, y in ((np.uint8, 121, 140), (np.int8, -7, 12)):
        name = np.dtype(t).name
        x, point, out = codes(t, 2, 3, 5, 4), (np.array(z, t),), (np.array(y, t),)
        yield f"add_{name}", single("QLinearAdd", [x, f(0.013), point, codes(t, 1, 3, 1, 1), f(0.02), out, f(0.031), out])
        yield f"mul_{name}", single("QLinearMul", [x, f(0.013), point, codes(t, 2, 3, 5, 4), f(0.02), out, f(0.017), out])
        yield f"sigmoid_{name}", single("QLinearSigmoid", [x, f(0.0507), point, f(0.004), (np.array(0, t),)])
        yield f"leaky_relu_{name}", single("QLinearLeakyRelu", [x, f(0.0507), point, f(0.0411), out], alpha=0.3)
        yield f"concat_{name}", single("QLinearConcat", [f(0.0411), out, x, f(0.0507), point, codes(t, 2, 2, 5, 4), f(0.0309), out], axis=1)
        yield f"global_pool_{name}", single("QLinearGlobalAveragePool", [x, f(0.0507), point, f(0.0411), out], channels_last=0)
        yield f"pool_{name}", single("QLinearAveragePool", [x, f(0.0507), point, f(0.0411), out], kernel_shape=[2, 3], pads=[0, 1, 1, 1], ceil_mode=1)
        yield f"softmax_{name}", single("QLinearSoftmax", [x, f(0.0507), point, f(1 / 256), (np.array(np.iinfo(t).min, t),)], axis=1, attributes={"opset": 17})
        yield f"softmax_flat_{name}", single("QLinearSoftmax", [x, f(0.0507), point, f(1 / 256), (np.array(np.iinfo(t).min, t),)], axis=2, attributes={"opset": 11})
        yield f"where_{name}", single("QLinearWhere", [N.rand(3, 1, 4) > 0.5, x, f(0.0507), point, codes(t, 4), f(0.0309), out, f(0.06), point])
        rows = codes(t, 6, 9)
        for columns in (1, 5):
            scale = f(0.01) if columns == 1 else f(*np.linspace(0.004, 0.02, 5))
            zero = (np.full(columns, 0, np.int8) if columns > 1 else np.array(3, np.int8),)
            bias = (N.randint(-4000, 4000, 5).astype(np.int32),)
            w = (codes(np.int8, 5, 9),)
            yield f"gemm_{columns}_{name}", single("QGemm", [rows, f(0.02), point, w, scale, zero, bias, f(0.0507), out], transB=1)
            yield f"gemm_float_{columns}_{name}", single("QGemm", [rows, f(0.02), point, w, scale, zero], transB=1, alpha=0.5)
            yield f"to_float_{columns}_{name}", single("MatMulIntegerToFloat", [rows, (codes(np.int8, 9, 5),), f(0.02), scale, point, zero, f(*data(5))])
    for t in (np.uint8, np.int8):
        name = np.dtype(t).name
        yield f"dynamic_{name}", single("DynamicQuantizeMatMul", [data(4, 9), (codes(t, 9, 5),), f(0.02), (np.array(4, t),), f(*data(5))])
    for t in (np.uint16, np.int16):
        name = np.dtype(t).name
        x = data(3, 4)
        scale, zero = f(0.0001), (np.array(1000, t),)
        yield f"quantize_{name}", single("QuantizeLinear", [x, scale, zero], opset=13)
        yield f"dequantize_{name}", single("DequantizeLinear", [codes(t, 3, 4), scale, zero], opset=13)


def cases():
    """Names, and functions that make float network and quantized model."""

    def of(build, how):
        def make():
            net, outputs = build()
            return net, how(net, outputs)

        return make

    for name, build in STATIC.items():
        for form in ("qop", "qdq"):
            for types, per_channel in (("us", False), ("us", True), ("ss", True), ("uu", False)):
                label = f"{form}_{name}_{types}{'_per_channel' if per_channel else ''}"
                yield label, of(build, static(form, types, per_channel))
    yield "qop_softmax_of_12", of(lambda: net_softmax(12), static("qop", "us", opset=12))
    yield "qop_conv_reduced", of(net_conv, static("qop", "us", per_channel=True, reduce_range=True))
    for types in ("UU", "SS", "Us"):
        extra = {"extra_options": {"UseQDQContribOps": True}}
        yield f"qdq_conv_16_bit_{types}", of(net_conv, static("qdq", types, **extra))
    yield "qdq_matmul_int4", of(net_matmul, static("qdq", "u4", opset=21))
    extra = {"extra_options": {"AddQDQPairToWeight": True, "QuantizeBias": False, "ActivationSymmetric": True}}
    yield "qdq_conv_pairs_on_weights", of(net_conv, static("qdq", "ss", per_channel=True, **extra))
    for name, build in {"conv": net_conv, "matmul": net_matmul, "gemm": net_gemm, "embedding": net_embedding,
                        "attention": net_attention, "lstm": net_lstm, "lstm_both": net_lstm_both}.items():
        for types, per_channel in (("u", False), ("s", False), ("s", True)):
            yield f"dynamic_{name}_{types}{'_per_channel' if per_channel else ''}", of(build, dynamic(types, per_channel))
    for bits, block, symmetric, size in ((4, 16, True, 40), (4, 32, False, 70), (8, 16, False, 40), (4, 16, False, 16)):
        label = f"nbits_{bits}_{block}_{size}{'_symmetric' if symmetric else ''}"
        yield label, lambda given=(bits, block, symmetric, size): n_bits(*given)
    for name, made in singles():
        yield f"one_{name}", lambda made=made: made


def outputs_of(model, inputs):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def main(target):
    count = 0
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        def add(name, content):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)

        for name, make in cases():
            try:
                net, model = make()
                del model.graph.value_info[:]
                content = model.SerializeToString()
                results = outputs_of(content, net.inputs)
            except Exception as error:  # The quantizer fails at some, and ONNX Runtime at some of what it makes.
                print(f"{name}: left out: {str(error).splitlines()[0][:150]}")
                continue
            add(f"{name}/model.onnx", content)
            for kind, arrays in [("input", net.inputs.values()), ("output", results)]:
                for i, array in enumerate(arrays):
                    add(f"{name}/{kind}_{i}.pb", numpy_helper.from_array(np.asarray(array)).SerializeToString())
            count += 1
            ops = sorted({(n.domain + "::" if n.domain else "") + n.op_type for n in model.graph.node})
            print(f"{name}: {' '.join(ops)}", file=sys.stderr)
    print(f"ONNX Runtime {ort.__version__}: {count} cases")


if __name__ == "__main__":
    main(sys.argv[1])
