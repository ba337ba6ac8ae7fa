"""Exempt: leaves that may rightly hold infinities or zeros alone, or be equal, by their names and shapes."""

from __future__ import annotations

import re

from tiecli.leaves import LeafSpec


def _words(*words: str) -> re.Pattern[str]:
    """Finds words between which and their neighbours no letter stands."""
    return re.compile(rf"(?<![a-z])(?:{'|'.join(words)})(?![a-z])")


def _parts(*parts: str) -> re.Pattern[str]:
    """Finds whole parts of a path."""
    return re.compile(rf"(?:^|[./])(?:{'|'.join(parts)})(?:[./]|$)")


_ADDED = _words("masks?", "masked", "bias", "biases")
_GATES = _words("gates?", "gating")
# The range that an observer has seen: infinite until it has seen something, or for good.
_LIMITS = _words("min", "max")
# Norms that add one to their weight start from zero, and are matrices where layers are stacked.
_NORMS = re.compile(r"norm\d*(?![a-z])|(?<![a-z])(?:ln|bn)\d*(?![a-z])")
_INDICES = _words(
    "ids?", "idx", "index", "indices", "offsets?", "qzeros", "zero_?points?", "steps?", "count", "counter"
)
# Source: torch.optim, optax and flax, what they call their state.
_STATE = _parts(
    r"opt_state|optimizer\w*|optim\w*|exp_avg\w*|mu|nu|trace|momentum\w*|velocity|slots?",
    r"cache\w*|cached_\w+|batch_stats|grads?|gradients?|\w*accumulators?",
)
# What adapters and controls start from, so that at first they change nothing. Source: peft, kohya, ControlNet, DiT;
# and tables of positions that are parameters of their own, in the vision models of transformers.
_FROM_ZERO = re.compile(
    r"lora_(?:embedding_)?b(?![a-z])|lora[._]up|hada_w[12]_b|lokr_w2|zero_?(?:conv|linear|module|proj)|ada_?ln"
    r"|(?:pos|position|time|temporal)_embed(?:ding|dings|_window)?$|rel_pos_[hw]$|_tokens?$"
)
# Tables that are worked out and not learnt, and so are the same wherever they are needed.
_COMPUTED = _words(
    "embed_positions", "inv_freqs?", "freqs_cis", "rope", "rotary_emb", "sinusoidal", "positional_encoding"
)


def may_be_infinite(name: str, spec: LeafSpec) -> bool:
    """Whether infinities are in their place in a leaf: masks and biases are added to scores, to rule some out.

    Example:
        >>> from tiecli.leaves import DTYPES
        >>> matrix = LeafSpec((8, 8), DTYPES["F32"])
        >>> may_be_infinite("h.0.attn.mask", matrix), may_be_infinite("h.0.attn.weight", matrix)
        (True, False)
    """
    lower = name.lower()
    return bool(_ADDED.search(lower) or (_is_vector(spec) and (_GATES.search(lower) or _LIMITS.search(lower))))


def may_be_zero(name: str, spec: LeafSpec) -> bool:
    """Whether nothing but zeros is in its place in a leaf.

    So it is in vectors (biases, gates, norms that add one), in flags and indices, in what
    adapters and tables of positions start from, and in the state of optimizers.

    Example:
        >>> from tiecli.leaves import DTYPES
        >>> matrix = LeafSpec((8, 8), DTYPES["F32"])
        >>> may_be_zero("h.0.q.lora_B.weight", matrix), may_be_zero("h.0.q.weight", matrix)
        (True, False)
    """
    if spec.dtype.kind == "bool" or _is_vector(spec):
        return True
    lower = name.lower()
    return any(pattern.search(lower) for pattern in (_ADDED, _NORMS, _INDICES, _STATE, _FROM_ZERO))


def is_state(name: str) -> bool:
    """Whether a leaf is an optimizer's, or another record of training, and no parameter.

    Example:
        >>> is_state("exp_avg.h.0.q.weight"), is_state("h.0.q.weight")
        (True, False)
    """
    return _STATE.search(name.lower()) is not None


def may_be_repeated(name: str) -> bool:
    """Whether a leaf may be equal to others without being one with them: it is a table that code can work out.

    Example:
        >>> may_be_repeated("encoder.embed_positions.weight"), may_be_repeated("encoder.embed_tokens.weight")
        (True, False)
    """
    return _COMPUTED.search(name.lower()) is not None


def _is_vector(spec: LeafSpec) -> bool:
    return sum(length > 1 for length in spec.shape) < 2
