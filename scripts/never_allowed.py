"""Operators that the list of ``scripts/list_operations.py`` may not hold, seen or not, and the reasons."""

from collections.abc import Mapping
from fnmatch import fnmatchcase

# Reasons, each with patterns of names without ``aten::`` or ``prim::``.
NEVER: Mapping[str, str] = {
    "can reach memory beside the tensor, because sizes and strides are not compared with the storage": (
        "set_ set set_data as_strided* *resize* *storage* _reshape_alias* data_ptr from_blob _alias* share_memory* "
        "is_shared _unsafe_set* _unsafe_index* _unsafe_masked_index* empty_strided* new_empty_strided* _nested* "
        "nested* to_padded_tensor _fw_primal* _make_dual* *_ptr* _debug*"
    ),
    "reads or writes files": "save load from_file *_file",
    "writes to the terminal": "Print _print",
    "runs Python, C++ classes or code that was generated": "PythonOp ModuleContainer* *FusionGroup* TensorExpr*",
    "runs beside the program": "fork *wait* rpc_* Closure forkClosure",
    "belongs to collective communication": "c10d* *all_reduce* *all_gather* broadcast_ send recv",
    "belongs to one backend, and trusts packed data": (
        "*quantize* _make_per_* q_* int_repr choose_qparams* *mkldnn* *cudnn* miopen_* *xnnpack* *prepack* fbgemm_* "
        "*profile* _test* *mps_* *vulkan* _convert_weight* _weight_int* _scaled_* _int_mm* _foreach* _fused* _cslt* "
        "_flash* _efficient* _thnn_* _nnpack* _dyn_quant* _addmm_activation"
    ),
    "changes random numbers or other state of the process": (
        "manual_seed seed get_state set_state *default_generator* set_grad_enabled autocast* _autocast* "
        "set_num_threads set_default* set_flush_denormal"
    ),
    "is recurrent, and trusts the sizes of packed weights": (
        "lstm* gru* rnn_* quantized_* *_cell _pack_padded* _pad_packed*"
    ),
    "makes or reads sparse tensors, whose indices are not checked": (
        "*sparse* *coalesce* _indices _values *csr* *csc* _spmm smm hspmm sspaddmm _dimI _dimV ccol_indices "
        "row_indices crow_indices col_indices"
    ),
    "can crash for whole numbers, and no library needs it": "divmod",
    "pins memory, or uses it at its own time": "*pin_memory record_stream is_pinned",
    "computes gradients": "*backward* grad requires_grad retain_grad* _version Autograd*",
    # Tried with PyTorch 2.13: native_batch_norm and slow_conv* read beyond weights that are too short.
    "reads or writes beyond its tensors where sizes, indices or pivots are wrong": (
        "native_batch_norm* _native_batch_norm* _batch_norm_impl* _weight_norm_* slow_conv* _slow_conv* "
        "max_unpool* fractional_max_pool* *embedding_bag* embedding_renorm_ *ctc_loss* *lu_solve* lu_unpack* *ldl* "
        "ormqr orgqr *householder* segment_reduce *lstsq*"
    ),
}
# These match a pattern above and are harmless.
HARMLESS = frozenset({"prim::is_sparse", "prim::is_quantized", "prim::is_mkldnn", "prim::requires_grad"})


def why_never(operator: str) -> str:
    """Why an operator may not be on the list, as a clause; the empty text where it may."""
    namespace, _, name = operator.partition("::")
    if operator in HARMLESS:
        return ""
    if namespace not in ("aten", "prim"):
        return "belongs to a library of C++"
    for reason, patterns in NEVER.items():
        if any(fnmatchcase(name, pattern) for pattern in patterns.split()):
            return reason
    return ""
