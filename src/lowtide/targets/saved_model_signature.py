"""SavedModels of TensorFlow 2: one signature read for planning, and written in a planned order.

    loaded = load(folder)                               variables, tables, signatures
    served = inlined(loaded, "serving_default", dims)   its function without calls, shapes bound
    write(loaded, "serving_default", sequence, out)     everything as it was, that signature planned

Only in a child process: TensorFlow runs a model's initializers when it loads it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lowtide.backends.tensorflow.call import grappler_off
from lowtide.backends.tensorflow.reemit import reemit
from lowtide.errors import InputError, ModelError
from lowtide.frontends.tensorflow.inline import inline
from lowtide.tensorflow_types import TfFunction, load_tensorflow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["choose", "inlined", "load", "write"]

_DEFAULT = "serving_default"
# Ops that reach outside of the model: nothing that is planned, or run to load it, may have them.
_OUTSIDE = frozenset(
    {"EagerPyFunc", "PyFunc", "PyFuncStateless", "ReadFile", "WriteFile", "MatchingFiles"}
    | {"DataServiceDataset", "DataServiceDatasetV2", "DataServiceDatasetV3", "DataServiceDatasetV4"}
    | {"RpcCall", "RpcClient", "RpcServer", "RpcServerStart", "DebugIdentityV2", "PrintV2"}
    | {"WholeFileReader", "WholeFileReaderV2", "TextLineReader", "TextLineReaderV2"}
    | {"TFRecordReader", "TFRecordReaderV2", "FixedLengthRecordReader", "IdentityReader"}
    | {"TextLineDataset", "TFRecordDataset", "TFRecordDatasetV2", "FixedLengthRecordDataset"}
    | {"FixedLengthRecordDatasetV2", "SqlDataset", "CSVDataset", "CSVDatasetV2"}
    | {"LMDBDataset", "SaveDataset", "SaveDatasetV2", "LoadDataset", "CacheDataset"}
    | {"CacheDatasetV2", "SnapshotDataset", "SnapshotDatasetV2", "CreateSummaryFileWriter"}
)


def load(folder: Path) -> Any:
    """The loaded model.

    Raises:
        ModelError: it has ops that reach outside of it, or TensorFlow cannot load it.
    """
    tensorflow = load_tensorflow()
    schema = load_tensorflow("tensorflow.core.protobuf.saved_model_pb2")
    try:
        proto = schema.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    except Exception as error:
        raise ModelError(f"saved_model.pb is damaged: {_line(error)}") from None
    for meta in proto.meta_graphs:
        graph = meta.graph_def
        for node in (*graph.node, *(n for f in graph.library.function for n in f.node_def)):
            if node.op in _OUTSIDE:
                raise ModelError(
                    f"op `{node.name}` ({node.op}) reaches outside of the model (files, network, "
                    f"Python): such a model is not run here"
                )
    del proto
    try:
        loaded = tensorflow.saved_model.load(str(folder))
    except Exception as error:  # whatever TensorFlow says of a damaged model
        raise ModelError(f"TensorFlow cannot load the SavedModel: {_line(error)}") from None
    if not hasattr(loaded, "signatures") or not hasattr(
        loaded, "_self_unconditional_checkpoint_dependencies"
    ):
        raise ModelError("it is no SavedModel of TensorFlow 2: export it with tf.saved_model.save")
    return loaded


def choose(loaded: Any) -> str:
    """The signature to plan: `serving_default`, else the only one.

    Raises:
        ModelError: there is none, or several.
    """
    names = sorted(str(name) for name in loaded.signatures)
    if _DEFAULT in names or len(names) == 1:
        return _DEFAULT if _DEFAULT in names else names[0]
    if not names:
        raise ModelError("the SavedModel has no signature: save it with signatures=")
    raise ModelError(
        f"the SavedModel has the signatures {', '.join(names)} and none is named {_DEFAULT}: save "
        f"the one that is to be planned under that name"
    )


def inlined(loaded: Any, signature: str, dims: Mapping[str, int] | None) -> TfFunction:
    """The function of a signature without calls; with `dims`, of bound shapes.

    Args:
        loaded: from `load`.
        signature: its name.
        dims: sizes of open dimensions: by the name of an input, or `*` for all.

    Raises:
        InputError: a dimension is open, or what is bound is none of the model's.
        ModelError: the function is damaged.
    """
    function = loaded.signatures[signature]
    return inline(function, None if dims is None else _bound(function, dims))


def _bound(function: Any, dims: Mapping[str, int]) -> dict[str, list[int | None]]:
    shapes: dict[str, list[int | None]] = {}
    open_inputs: list[str] = []
    names: set[str] = set()
    given = len(function.graph.inputs) - len(function.captured_inputs)
    for tensor in function.graph.inputs[:given]:
        name = str(tensor.op.name)
        if tensor.shape.rank is None:
            raise InputError(f"input `{name}` has no known rank: export it with a TensorSpec")
        shape = cast("list[int | None]", tensor.shape.as_list())
        names.add(name)
        size = dims.get(name, dims.get("*"))
        if None in shape and size is None:
            open_inputs.append(f"`{name}` {shape}".replace("None", "?"))
        shapes[name] = [size if n is None else n for n in shape]
    unknown = sorted(set(dims) - names - {"*"})
    if unknown:
        raise InputError(
            f"--dim {unknown[0]}: there is no such input; the signature has "
            f"{', '.join(sorted(names))}"
        )
    if open_inputs:
        raise InputError(
            f"open dimensions in the inputs {', '.join(open_inputs)}: bind those that the plan is "
            f"made for, with --dim INPUT=VALUE or --dim '*=1'; the result takes others too"
        )
    return shapes


def write(loaded: Any, signature: str, sequence: Sequence[str], folder: Path) -> None:
    """Save the model with one signature in a planned order; all else is as it was loaded.

    The planned function has the shapes that the signature had, open ones included: an order does
    not depend on them. TensorFlow is asked not to rewrite it, by options stored with its call.
    """
    tensorflow = load_tensorflow()
    function = loaded.signatures[signature]
    planned: Any = reemit(inlined(loaded, signature, None), sequence)
    specs = function.structured_input_signature[1]

    def served(**arguments: object) -> object:
        return planned(**arguments)

    with grappler_off():  # the options of this moment go into the call of `planned`
        concrete = tensorflow.function(served, autograph=False).get_concrete_function(**specs)
    signatures = {str(name): found for name, found in loaded.signatures.items()}
    signatures[signature] = concrete
    tensorflow.saved_model.save(loaded, str(folder), signatures=signatures)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
