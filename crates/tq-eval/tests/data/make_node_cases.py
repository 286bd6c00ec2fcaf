#!/usr/bin/env python3
"""Makes onnx_node_cases.zip from the node test cases that the `onnx` package carries as files.

Run it with the package up to 1.16.2 (newer ones generate the cases instead of carrying them):

    python -m venv venv && venv/bin/pip install onnx==1.16.2
    venv/bin/python make_node_cases.py onnx_node_cases.zip

In the archive: `<case>/model.onnx`, `<case>/input_<i>.pb`, `<case>/output_<i>.pb` (TensorProto messages, one a graph
input or output, in order), `same.txt`: a line `<file> <other file>` for every file that is left out because another
one has the same bytes, and `skipped.txt`: a line `<case>: <reason>` for every case that has one of our operators in
it and was left out. The same package gives the same archive.
"""

import pathlib
import re
import sys
import zipfile

import onnx
from onnx import TensorProto

# One a line, in order: those that the import knows.
OPERATORS = set(
    """
    Abs
    Acos
    Acosh
    Add
    And
    ArgMax
    ArgMin
    Asin
    Asinh
    Atan
    Atanh
    AveragePool
    BatchNormalization
    BitShift
    BitwiseAnd
    BitwiseNot
    BitwiseOr
    BitwiseXor
    Cast
    CastLike
    Ceil
    Celu
    Clip
    Concat
    Constant
    ConstantOfShape
    Conv
    ConvInteger
    ConvTranspose
    Cos
    Cosh
    CumSum
    DepthToSpace
    DequantizeLinear
    Div
    Dropout
    DynamicQuantizeLinear
    Einsum
    Elu
    Equal
    Erf
    Exp
    Expand
    EyeLike
    Flatten
    Floor
    GRU
    Gather
    GatherElements
    GatherND
    Gelu
    Gemm
    GlobalAveragePool
    GlobalLpPool
    GlobalMaxPool
    Greater
    GreaterOrEqual
    GroupNormalization
    HardSigmoid
    HardSwish
    Hardmax
    Identity
    InstanceNormalization
    IsInf
    IsNaN
    LRN
    LSTM
    LayerNormalization
    LeakyRelu
    Less
    LessOrEqual
    Log
    LogSoftmax
    LpPool
    MatMul
    MatMulInteger
    Max
    MaxPool
    Mean
    MeanVarianceNormalization
    Min
    Mish
    Mod
    Mul
    Neg
    NonMaxSuppression
    NonZero
    Not
    OneHot
    Or
    PRelu
    Pad
    Pow
    QLinearConv
    QLinearMatMul
    QuantizeLinear
    RNN
    Range
    Reciprocal
    ReduceL1
    ReduceL2
    ReduceLogSum
    ReduceLogSumExp
    ReduceMax
    ReduceMean
    ReduceMin
    ReduceProd
    ReduceSum
    ReduceSumSquare
    Relu
    Reshape
    Resize
    Round
    ScatterElements
    ScatterND
    Selu
    Shape
    Sigmoid
    Sign
    Sin
    Sinh
    Size
    Slice
    Softmax
    Softplus
    Softsign
    SpaceToDepth
    Split
    Sqrt
    Squeeze
    Sub
    Sum
    Tan
    Tanh
    ThresholdedRelu
    Tile
    TopK
    Transpose
    Trilu
    Unsqueeze
    Where
    Xor
    """.split()
)
MIN_OPSET, MAX_OPSET = 13, 21
NO_TYPES = {TensorProto.STRING, TensorProto.COMPLEX64, TensorProto.COMPLEX128, TensorProto.UNDEFINED}


def nodes_of(graph):
    """All nodes, those of sub-graphs included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                yield from nodes_of(inner)


def mentioned(model):
    return {node.op_type for node in nodes_of(model.graph)}


def reason_to_skip(model, folder):
    """Why a case is left out, or None."""
    others = sorted(mentioned(model) - OPERATORS)
    if others:
        return "operators " + " ".join(others)
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            return f"domain {node.domain}"
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "BatchNormalization" and attributes.get("training_mode"):
            return "BatchNormalization in training mode"
        if node.op_type == "Dropout" and len(node.input) == 3:
            # What turns training on is an input of these graphs, so it is not known before they run.
            mode = onnx.load_tensor(folder / "test_data_set_0" / "input_2.pb")
            on = onnx.numpy_helper.to_array(mode).item()
            return f"Dropout whose training_mode is not a constant (it is {str(on).lower()})"
        if node.op_type == "Cast" and attributes["to"] in NO_TYPES:
            return "strings"
        if any(name.startswith("value_string") for name in attributes):
            return "strings"
    for info in [*model.graph.input, *model.graph.output, *model.graph.value_info]:
        kind = info.type.WhichOneof("value")
        if kind != "tensor_type":
            return kind.replace("_type", "") + " types"
        if info.type.tensor_type.elem_type == TensorProto.STRING:
            return "strings"
        if info.type.tensor_type.elem_type in NO_TYPES:
            return "complex numbers"
    for info in model.graph.input:
        if not info.type.tensor_type.HasField("shape"):
            return "an input without a rank"
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if opset > MAX_OPSET:
        return f"opset {opset}"
    # An older case counts where its operators are still the same at the lowest operator set that is read.
    for op in sorted(mentioned(model)):
        if opset < MIN_OPSET and onnx.defs.get_schema(op, MIN_OPSET).since_version > opset:
            return f"{op} of opset {opset}"
    return None


def numbered(folder, kind):
    """`<kind>_<i>.pb` in the order of i."""
    files = folder.glob(f"{kind}_*.pb")
    return sorted(files, key=lambda p: int(re.search(r"(\d+)\.pb$", p.name)[1]))


def main(target):
    node_cases = pathlib.Path(onnx.__file__).parent / "backend/test/data/node"
    entries, skipped, taken = [], [], 0
    for folder in sorted(node_cases.iterdir()):
        model = onnx.load(folder / "model.onnx")
        if not mentioned(model) & (OPERATORS - {"Constant"}) and mentioned(model) != {"Constant"}:
            continue
        reason = reason_to_skip(model, folder)
        if reason:
            skipped.append(f"{folder.name}: {reason}\n")
            continue
        sets = sorted(folder.glob("test_data_set_*"))
        assert len(sets) == 1, folder
        taken += 1
        entries.append((f"{folder.name}/model.onnx", folder / "model.onnx"))
        for kind, infos in [("input", model.graph.input), ("output", model.graph.output)]:
            files = numbered(sets[0], kind)
            assert len(files) == len(infos), folder
            entries += [(f"{folder.name}/{kind}_{i}.pb", f) for i, f in enumerate(files)]
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        def add(name, data):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)

        add("skipped.txt", "".join(skipped))
        first, same = {}, []
        for name, path in entries:
            data = path.read_bytes()
            if data in first:
                same.append(f"{name} {first[data]}\n")
            else:
                first[data] = name
                add(name, data)
        add("same.txt", "".join(same))
    print(f"onnx {onnx.__version__}: {taken} cases taken, {len(skipped)} skipped")


if __name__ == "__main__":
    main(sys.argv[1])
