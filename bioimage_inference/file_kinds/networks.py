"""Models of other programs, by the first bytes of a file, by its content, or by the names of files in a folder."""

import re
from pathlib import Path

from .file_kind import FileKind

_IN_ZOO = "`bioimage-inference models` lists models that run here."
_CONVERT = (
    "Ask its authors for TorchScript weights (torch.jit.script or torch.jit.trace), or choose another model. " + _IN_ZOO
)


def _network(words: str, next_step: str) -> FileKind:
    return FileKind(words, next_step, "network")


STARDIST = _network(
    "a StarDist model (TensorFlow)",
    "Run it with StarDist: in Python, or with the plugins of Fiji, QuPath and napari.",
)
CELLPOSE = _network("a Cellpose model", "Run it with Cellpose: cellpose --pretrained_model FILE --dir FOLDER.")
TENSORFLOW = _network("a TensorFlow model (SavedModel)", _CONVERT)
PICKLE = FileKind("a Python pickle", "Save the array in Python with numpy.save or tifffile.imwrite.")
_DESCRIBED = "Give the model's package (zip or folder), or name its description with --description rdf.yaml."
_ONNX = _network("an ONNX model", _DESCRIBED)
_SAFETENSORS = _network("a safetensors file (weights without their network)", _DESCRIBED)
_SKLEARN = _network(
    "a pickled scikit-learn model",
    "Run it in Python with the program that made it. A pickle can run any code, so open only your own.",
)
_WEKA = _network(
    "a Java object, such as a classifier of Weka or Labkit", "Run it in Fiji with the plugin that made it."
)
_YOLO = _network("an Ultralytics YOLO model", "Run it with Ultralytics: yolo predict model=FILE source=FOLDER.")
_TFLITE = _network("a TensorFlow Lite model", _CONVERT)
_NNUNET = _network("a folder of nnU-Net", "Run it with nnU-Net: nnUNetv2_predict_from_modelfolder.")
_CSBDEEP = _network("a CSBDeep model (CARE or Noise2Void, TensorFlow)", "Run it with CSBDeep, in Python or Fiji.")
KERAS = _network("a Keras model (TensorFlow)", _CONVERT)

# ir_version, then producer_name, or the graph and its first node (onnx.proto).
_ONNX_START = re.compile(rb"\x08[\x01-\x20](\x12.[ -~]{2}|\x3a[\x80-\xff]*[\x00-\x7f]\x0a)", re.DOTALL)
_PICKLE_START = re.compile(rb"\x80[\x02-\x05]")
_FOLDERS = (
    ({"saved_model.pb"}, TENSORFLOW),
    ({"config.json", "thresholds.json"}, STARDIST),
    ({"plans.json", "dataset.json"}, _NNUNET),
    ({"config.json", "weights_best.h5"}, _CSBDEEP),
    ({"config.json", "model.weights.h5"}, KERAS),
)


def is_pickle(start: bytes) -> bool:
    """Return whether a file may be a pickle, by its first two bytes."""
    return _PICKLE_START.match(start) is not None


def is_onnx_start(start: bytes) -> bool:
    """Return whether a file begins as ONNX networks do, by its first bytes."""
    return _ONNX_START.match(start) is not None


def network_kind(path: Path, start: bytes) -> FileKind | None:
    """Return the kind of a file with a network or weights of another program, ``None`` for other files."""
    if start.startswith(b"\xac\xed\0\x05"):
        return _WEKA
    if start[4:8] == b"TFL3":
        return _TFLITE
    if start[8:10] == b'{"' and int.from_bytes(start[:8], "little") < 100 << 20:
        return _SAFETENSORS
    if is_onnx_start(start):
        return _ONNX
    if is_pickle(start) and b"sklearn" in start:
        return _SKLEARN
    return TENSORFLOW if path.name == "saved_model.pb" else None


def pickled_weights_kind(pickled: bytes) -> FileKind | None:
    """Return the program whose weights a pickle of PyTorch holds, by the names in the pickle. Nothing is unpickled."""
    if b"diam_mean" in pickled or b"diam_labels" in pickled:
        return CELLPOSE
    return _YOLO if b"ultralytics" in pickled else None


def folder_kind(folder: Path) -> FileKind | None:
    """Return the kind of a folder with a model of another program, ``None`` for other folders."""
    for names, kind in _FOLDERS:
        if all((folder / name).is_file() for name in names):
            return kind
    return None
