"""Run and compile normalizing-flow policies with nfcc.

    import nfcc
    policy = nfcc.open("policy.so")
    x, log_prob = policy.sample_and_log_prob(64, obs=obs, noise=nfcc.Noise(seed=0))

Shapes. E is the shape of an event, a context has its own shape, both without a batch axis (see `policy.info`).
Contexts are given by their ONNX names, as keywords or, where a name is no identifier or one of the method's own
arguments, in `contexts={"a/b": ...}`. A context is [N, *its shape] or a single row [*its shape].

    batch   B = (N,) if any context has a batch axis, else () (one row; also a policy without contexts)
    draws   `n` events per row: arrays are [*B, n, *E], log_prob and log_det [*B, n]
            without n: [*B, *E] and [*B]
    given   x or z: [*B, n, *E] or [*B, *E]; the outputs follow; with contexts of one row also [n, *E]

A context that has one row or no batch axis is shared by all rows of the others.

Arrays of the right type that are C-contiguous are passed as they are (memory-mapped files too), others are converted.
`threads=4` (0: one per processor) computes an entry of `Policy` by several threads, contexts included, in pieces, so
that memory does not grow with the rows; the bits are the same. It is for thousands of rows: threads are started for the
call. The GIL is released during a call, and any number of threads may use one policy. Log densities are in nats.
"""
from __future__ import annotations

import ctypes
import errno
import operator
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import warnings
from ctypes import POINTER, byref, c_char_p, c_float, c_int, c_size_t, c_uint, c_uint8, c_uint64, c_void_p
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as _brief
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

__version__ = "0.1.0"  # as in pyproject.toml
__all__ = ["CompileError", "Error", "Info", "Noise", "NotFiniteWarning", "Policy", "Prepared", "Value", "compile",
           "open", "write"]

Array = np.ndarray
Contexts = Mapping[str, Any]
PathLike = Union[str, "os.PathLike[str]"]


class Error(RuntimeError):
    """A function of libnfcc failed. `status` is the code of nfcc.h."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class CompileError(RuntimeError):
    """The compiler refused a model; the text is its message. `exit_code` is that of `nfcc --help`."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class NotFiniteWarning(RuntimeWarning):
    """An input row held NaN or infinity: the outputs of that row are NaN, all others are as usual. Or an event that was
    computed from finite numbers is not finite."""


# ---- the C library


class _Value(ctypes.Structure):
    _fields_ = [("name", c_char_p), ("type", c_int), ("rank", c_uint), ("shape", c_size_t * 8), ("size", c_size_t)]


class _Info(ctypes.Structure):
    _fields_ = [("abi_version", c_uint), ("name", c_char_p), ("compiler", c_char_p), ("target", c_char_p),
                ("base", c_char_p), ("notes", c_char_p), ("model_hash", c_uint8 * 32), ("entries", c_uint),
                ("n_contexts", c_size_t), ("n_inputs", c_size_t), ("n_outputs", c_size_t),
                ("contexts", POINTER(_Value)), ("inputs", POINTER(_Value)), ("outputs", POINTER(_Value)),
                ("event", _Value), ("event_size", c_size_t), ("work_size", c_size_t), ("weights_size", c_size_t),
                ("cpu", c_uint), ("stack_size", c_size_t)]


class _Call(ctypes.Structure):
    _fields_ = [("entry", c_uint), ("rows", c_size_t), ("n", c_size_t), ("arrays", POINTER(c_void_p)),
                ("given", c_void_p),
                ("noise", c_void_p), ("out", POINTER(c_void_p))]


class _Threads(ctypes.Structure):
    _fields_ = [("threads", c_uint), ("run", c_void_p), ("user", c_void_p)]


class _Noise(ctypes.Structure):
    _fields_ = [("seed", c_uint64), ("next", c_uint64), ("temperature", c_float), ("z", c_void_p)]


_P, _N, _Z = c_void_p, POINTER(_Noise), c_size_t
_FUNCTIONS: Dict[str, Tuple[Any, List[Any]]] = {
    "nfcc_open": (c_int, [c_char_p, c_uint, POINTER(_P)]),
    "nfcc_close": (None, [_P]),
    "nfcc_get_info": (POINTER(_Info), [_P]),
    "nfcc_status_text": (c_char_p, [c_int]),
    "nfcc_prepared_size": (_Z, [_P, _Z]),
    "nfcc_prepare": (c_int, [_P, _Z, POINTER(_P), _P, _P]),
    "nfcc_to_latent": (c_int, [_P, _P, _Z, _P, _P, _P, _P]),
    "nfcc_to_event": (c_int, [_P, _P, _Z, _P, _P, _P, _P]),
    "nfcc_log_prob": (c_int, [_P, _P, _Z, _P, _P, _P]),
    "nfcc_score": (c_int, [_P, _P, _Z, _P, _P, _P]),
    "nfcc_score_context": (c_int, [_P, _P, _Z, _P, _P, POINTER(_P), _P]),
    "nfcc_sample": (c_int, [_P, _P, _N, _Z, _P, _P]),
    "nfcc_sample_and_log_prob": (c_int, [_P, _P, _N, _Z, _P, _P, _P]),
    "nfcc_sample_best": (c_int, [_P, _P, _N, _Z, _P, _P, _P]),
    "nfcc_act": (c_int, [_P, _P, _N, _Z, _P, _P]),
    "nfcc_run": (c_int, [_P, _Z, POINTER(_P), POINTER(_P), _P]),
    "nfcc_bulk": (c_int, [_P, POINTER(_Call), POINTER(_Threads)]),
    "nfcc_draw": (c_int, [_P, c_uint64, c_uint64, _Z, _P, _P]),
    "nfcc_selftest": (c_int, [_P, _P, _Z]),
    "nfcc_selftest_size": (_Z, [_P]),
}
_HERE = Path(__file__).resolve().parent
_NOT_FINITE, _NO_ENTRY, _FILE = 1, 4, 7
_DTYPES: Dict[int, "np.dtype[Any]"] = {0: np.dtype(np.float32), 2: np.dtype(np.int64), 3: np.dtype(np.bool_)}
_ENTRIES = ("to_latent", "to_event", "log_prob", "sample", "sample_and_log_prob", "act", "run", "score",
            "sample_best")


def _places(name: str, variable: str) -> List[Path]:
    """Where a built file may be: named by a variable, beside this package, in the checkout this file belongs to."""
    named = [Path(os.environ[variable]).absolute()] if os.environ.get(variable) else []  # not searched for
    checkout = [_HERE.parents[2] / "build" / name] if len(_HERE.parents) > 2 else []
    return named + [_HERE / name] + checkout


def _load_library() -> ctypes.CDLL:
    places = _places("libnfcc.so", "NFCC_LIBRARY")
    found = next((str(place) for place in places if place.is_file()), "libnfcc.so")
    try:
        library = ctypes.CDLL(found)
    except OSError as error:
        looked = ", ".join(str(place) for place in places)
        raise ImportError(f"libnfcc.so not found (looked at {looked}): {error}; build it with ./dev build, or set "
                          "NFCC_LIBRARY to its path") from None
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(library, name, None)
        if function is None:
            raise ImportError(f"{found}: has no {name}: it is not the libnfcc.so of this package's version")
        function.restype, function.argtypes = result, arguments
    return library


_lib = _load_library()
_nfcc_open = ctypes.CFUNCTYPE(c_int, c_char_p, c_uint, POINTER(_P), use_errno=True)(("nfcc_open", _lib))


def _callers_level() -> int:
    """The stacklevel, seen from the caller of this function, of the line outside of this file that the user wrote."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename == __file__:
        level, frame = level + 1, frame.f_back
    return level


def _check(status: int, what: str) -> None:
    if status == _NOT_FINITE:
        warnings.warn(f"{what}: {_lib.nfcc_status_text(status).decode()}", NotFiniteWarning,
                      stacklevel=_callers_level())
    elif status != 0:
        raise Error(f"{what}: {_lib.nfcc_status_text(status).decode()}", status)


def _address(array: Optional[Array]) -> Optional[int]:
    return None if array is None else array.ctypes.data


def _pointers(arrays: Sequence[Optional[Array]]) -> Any:
    return (c_void_p * max(1, len(arrays)))(*[_address(array) for array in arrays])


# ---- what a policy says of itself


@dataclass(frozen=True)
class Value:
    """An array that a policy takes or gives. `shape` is without the batch axis."""

    name: str
    dtype: np.dtype
    shape: Tuple[int, ...]


@dataclass(frozen=True)
class Info:
    """What is known of a policy; `event` is None for a graph that is no flow."""

    name: str
    compiler: str
    target: str
    base: str
    notes: str
    model_hash: str
    entries: Tuple[str, ...]
    contexts: Tuple[Value, ...]
    inputs: Tuple[Value, ...]
    outputs: Tuple[Value, ...]
    event: Optional[Value]
    weights_size: int
    work_size: int
    stack_size: int


def _value(v: _Value) -> Value:
    return Value(v.name.decode(), _DTYPES[v.type], tuple(v.shape[: v.rank]))


def _info(i: _Info) -> Info:
    text = {key: getattr(i, key).decode() for key in ("name", "compiler", "target", "base", "notes")}
    return Info(model_hash=bytes(i.model_hash).hex(), weights_size=i.weights_size, work_size=i.work_size,
                stack_size=i.stack_size,
                entries=tuple(name for bit, name in enumerate(_ENTRIES) if i.entries >> bit & 1),
                contexts=tuple(_value(i.contexts[k]) for k in range(i.n_contexts)),
                inputs=tuple(_value(i.inputs[k]) for k in range(i.n_inputs)),
                outputs=tuple(_value(i.outputs[k]) for k in range(i.n_outputs)),
                event=_value(i.event) if i.event_size else None, **text)


_noise_lock = threading.Lock()


@dataclass
class Noise:
    """The noise of calls: row i of a call is row next + i of the stream `seed`, and `next` moves on by the rows drawn.

    The same (seed, row) gives the same bits on every machine. `temperature` scales the noise; 0 is the deterministic
    action. A control loop keeps one Noise; a replay sets `next`.
    """

    seed: int = 0
    next: int = 0
    temperature: float = 1.0

    def _take(self, rows: int) -> _Noise:
        """The C form of the next `rows` rows; threads that share a Noise get different ones."""
        try:
            temperature = c_float(self.temperature).value
        except TypeError:
            temperature = -1
        if not 0 <= temperature < float("inf"):
            raise ValueError(f"temperature: wanted a finite float32 from 0 on, got {_brief(self.temperature)}")
        with _noise_lock:
            noise = _Noise(_whole("seed", self.seed), _whole("next", self.next), temperature, None)
            self.next = (self.next + rows) % 2**64
        return noise


# ---- arrays


def _whole(name: str, given: Any) -> int:
    try:
        return operator.index(given) % 2**64
    except TypeError:
        raise TypeError(f"{name}: wanted a whole number, got {_brief(given)}") from None


def _row_count(given: Any) -> int:
    if isinstance(given, bool) or not isinstance(given, (int, np.integer)) or given < 0:
        raise TypeError(f"rows: wanted a number of rows, got {_brief(given)}")
    return int(given)


def _show(shape: Sequence[Any]) -> str:
    return "[" + ", ".join(str(size) for size in shape) + "]"


def _convert(name: str, given: Any, dtype: np.dtype) -> Array:
    try:
        array = np.asarray(given)
    except Exception as error:  # ragged lists; tensors that need .detach() or .cpu() and say so
        raise TypeError(f"{name}: cannot be made a NumPy array: {error}") from error
    if array.dtype != dtype and not np.can_cast(array.dtype, dtype, "same_kind"):
        raise TypeError(f"{name}: wanted {dtype}, got {array.dtype}")
    return np.require(array, dtype, ["C", "A"])


def _rows(values: Sequence[Value], given: Contexts, kind: str) -> Tuple[Optional[int], List[Array]]:
    """The arrays of `values` as [N, *shape], and N (None: no array has a batch axis)."""
    unknown = [name for name in given if name not in {value.name for value in values}]
    if unknown:
        known = ", ".join(value.name for value in values) or f"the policy has no {kind}s"
        raise TypeError(f"{unknown[0]}: no {kind} of this name ({known})")
    arrays = []
    for value in values:
        if given.get(value.name) is None:
            raise TypeError(f"{value.name}: missing {kind}, wanted as a keyword, {_show(('N',) + value.shape)}")
        arrays.append(_convert(value.name, given[value.name], value.dtype))
    batched = [a.shape[0] for a, value in zip(arrays, values)
               if a.shape[1:] == value.shape and a.ndim > len(value.shape)]
    rows = None if not batched else max(batched) if 0 not in batched else 0
    return rows, [_share(value, array, rows) for value, array in zip(values, arrays)]


def _share(value: Value, array: Array, rows: Optional[int]) -> Array:
    wanted = ("N" if rows is None else rows,) + value.shape
    if array.shape == value.shape:
        array = array[np.newaxis]
    elif array.shape[1:] != value.shape or array.ndim != len(value.shape) + 1 or array.shape[0] not in (1, rows):
        raise ValueError(f"{value.name}: wanted {_show(wanted)}, got {_show(array.shape)}")
    full = (1 if rows is None else rows,) + value.shape
    right = array.shape == full and array.flags.c_contiguous
    return array if right else np.ascontiguousarray(np.broadcast_to(array, full))


def _output(name: str, out: Optional[Array], shape: Tuple[int, ...], dtype: Any = np.float32) -> Array:
    if out is None:
        return np.empty(shape, dtype)
    if not isinstance(out, np.ndarray) or out.dtype != dtype or not out.flags.c_contiguous or not out.flags.writeable:
        raise TypeError(f"out of {name}: wanted a writable C-contiguous {np.dtype(dtype)} array")
    if out.shape != shape:
        raise ValueError(f"out of {name}: wanted {_show(shape)}, got {_show(out.shape)}")
    return out


def _two(out: Optional[Sequence[Optional[Array]]]) -> Sequence[Optional[Array]]:
    if out is None:
        return None, None
    if not isinstance(out, (tuple, list)) or len(out) != 2:
        raise TypeError("out: wanted a pair of arrays, one for each output (None: a new array)")
    return out


def _thread_count(threads: int) -> int:
    if isinstance(threads, bool) or not isinstance(threads, (int, np.integer)) or not 0 <= threads <= 1024:
        raise ValueError(f"threads: wanted a number from 0 (one per processor) to 1024, got {_brief(threads)}")
    return int(threads)


def _names(contexts: Optional[Contexts], named: Contexts) -> Dict[str, Any]:
    twice = [name for name in named if contexts and name in contexts]
    if twice:
        raise TypeError(f"{twice[0]}: given as a keyword and in contexts=")
    return {**(contexts or {}), **named}


# ---- policies


class Prepared:
    """Contexts of a policy, worked through once: the entries, without contexts. Read-only; threads may share it.

    `rows` is the batch size N, or None for a single row without batch axis. Made by `Policy.prepare`.
    """

    def __init__(self, policy: "Policy", contexts: Contexts) -> None:
        self.policy = policy
        self.rows, arrays = _rows(policy.info.contexts, contexts, "context")
        self._batch: Tuple[int, ...] = () if self.rows is None else (self.rows,)
        if self.rows == 0:
            return
        n = 1 if self.rows is None else self.rows
        size = _lib.nfcc_prepared_size(policy._open(), n)
        if size == 0:
            raise MemoryError(f"{n} context rows are too many")
        self._memory = np.empty(size, np.uint8)
        policy._call("prepare", n, _pointers(arrays), _address(self._memory), policy._workspace())

    def __repr__(self) -> str:
        return f"<nfcc.Prepared: {'one row' if self.rows is None else f'{self.rows} rows'} of {self.policy!r}>"

    def __reduce__(self) -> Any:
        raise TypeError("prepared contexts belong to their process; pickle the policy and the contexts, and prepare "
                        "there")

    def _entry(self, name: str, n: int, *arguments: Any) -> None:
        if n == 0 or self.rows == 0:
            self.policy._require(name)
            return
        self.policy._call(name, _address(self._memory), *arguments, self.policy._workspace())

    def _leading(self, name: str, given: Any) -> Tuple[Array, Tuple[int, ...], int]:
        """x or z as an array, its shape in front of E, and n."""
        event = self.policy._event()
        array = _convert(name, given, event.dtype)
        lead = array.shape[: max(0, array.ndim - len(event.shape))]
        fits = array.shape[len(lead):] == event.shape
        if fits and self._batch == (1,) and len(lead) == 1:
            return array, lead, lead[0]
        if not fits or lead[: len(self._batch)] != self._batch or len(lead) > len(self._batch) + 1:
            wanted = f"{_show(self._batch + event.shape)} or {_show(self._batch + ('n',) + event.shape)}"
            raise ValueError(f"{name}: wanted {wanted}, got {_show(array.shape)}")
        return array, lead, lead[-1] if len(lead) > len(self._batch) else 1

    def _draws(self, n: Optional[int], noise: Optional[Noise], z: Any) -> Tuple[Tuple[int, ...], int, Optional[Array]]:
        """The outputs' shape in front of E, n, and z as an array, if given."""
        if (noise is None) == (z is None):
            raise TypeError("wanted either noise=nfcc.Noise(seed=...) or z= (for the deterministic action: "
                            "noise=nfcc.Noise(temperature=0))")
        if z is not None:
            array, lead, given = self._leading("z", z)
            if n is not None and lead != self._batch + (n,):
                wanted = self._batch + (n,) + self.policy._event().shape
                raise ValueError(f"z: wanted {_show(wanted)}, got {_show(array.shape)}")
            return lead, given, array
        if not isinstance(noise, Noise):
            raise TypeError(f"noise: wanted nfcc.Noise(seed=...), got {_brief(noise)}")
        if n is not None and (not isinstance(n, (int, np.integer)) or n < 0):
            raise TypeError(f"n: wanted a number of samples per context row, got {_brief(n)}")
        count = 1 if n is None else int(n)
        return self._batch if n is None else self._batch + (count,), count, None

    def _noise(self, noise: Optional[Noise], count: int, z: Optional[Array]) -> _Noise:
        """The C noise. It comes last: a call that is refused for another reason leaves the stream where it was."""
        if noise is None or z is not None:
            return _Noise(0, 0, 0, _address(z))
        return noise._take(count * (1 if self.rows is None else self.rows))

    def to_latent(self, x: Any, *, out: Optional[Sequence[Optional[Array]]] = None) -> Tuple[Array, Array]:
        """x [*B, n, *E] or [*B, *E] -> (z as x, log_det [*B, n] or [*B]), log_det = log abs det dz/dx."""
        array, lead, n = self._leading("x", x)
        first, second = _two(out)
        z, log_det = _output("z", first, array.shape), _output("log_det", second, lead)
        self._entry("to_latent", n, n, _address(array), _address(z), _address(log_det))
        return z, log_det

    def to_event(self, z: Any, *, out: Optional[Sequence[Optional[Array]]] = None) -> Tuple[Array, Array]:
        """z [*B, n, *E] or [*B, *E] -> (x as z, log_det [*B, n] or [*B]), log_det = log abs det dx/dz."""
        array, lead, n = self._leading("z", z)
        first, second = _two(out)
        x, log_det = _output("x", first, array.shape), _output("log_det", second, lead)
        self._entry("to_event", n, n, _address(array), _address(x), _address(log_det))
        return x, log_det

    def log_prob(self, x: Any, *, out: Optional[Array] = None) -> Array:
        """x [*B, n, *E] or [*B, *E] -> log density [*B, n] or [*B] in nats; -inf outside the support."""
        array, lead, n = self._leading("x", x)
        log_prob = _output("log_prob", out, lead)
        self._entry("log_prob", n, n, _address(array), _address(log_prob))
        return log_prob

    def score(self, x: Any, *, out: Optional[Array] = None) -> Array:
        """x [*B, n, *E] or [*B, *E] -> d log_prob / d x as x; NaN where log_prob is -inf."""
        array, _, n = self._leading("x", x)
        score = _output("score", out, array.shape)
        self._entry("score", n, n, _address(array), _address(score))
        return score

    def score_context(self, x: Any) -> Tuple[Array, Dict[str, Array]]:
        """As `score`, and d log_prob / d context for each context by its name, [*B, n, *C] or [*B, *C]; 0 for integers.

        Only of a policy compiled with --score-context."""
        array, lead, n = self._leading("x", x)
        self.policy._require("score")
        score = np.empty(array.shape, np.float32)
        by_context = {c.name: np.empty(lead + c.shape, np.float32) for c in self.policy.info.contexts}
        pointers = (c_void_p * max(1, len(by_context)))(*map(_address, by_context.values()))
        if n and self.rows != 0:
            self._score_context(n, _address(array), _address(score), pointers)
        return score, by_context

    def _score_context(self, n: int, *arguments: Any) -> None:
        try:
            self.policy._call("score_context", _address(self._memory), n, *arguments, self.policy._workspace())
        except Error as error:
            if error.status != _NO_ENTRY:
                raise
            raise Error("score_context: the policy was compiled without it; nfcc MODEL.onnx --score-context, or "
                        "nfcc.compile(model, score_context=True)", _NO_ENTRY) from None

    def _draw(self, entry: str, n: Optional[int], noise: Optional[Noise], z: Any, out: Optional[Array]) -> Array:
        self.policy._require(entry)
        lead, count, given = self._draws(n, noise, z)
        x = _output("x", out, lead + self.policy._event().shape)
        c_noise = self._noise(noise, count, given)
        self._entry(entry, count, byref(c_noise), count, _address(x))
        return x

    def sample(self, n: Optional[int] = None, *, noise: Optional[Noise] = None, z: Any = None,
               out: Optional[Array] = None) -> Array:
        """Events [*B, n, *E] ([*B, *E] without n), from a noise stream or from latents z of that shape."""
        return self._draw("sample", n, noise, z, out)

    def act(self, n: Optional[int] = None, *, noise: Optional[Noise] = None, z: Any = None,
            out: Optional[Array] = None) -> Array:
        """The actions that ship, after the policy's output clip: shapes as `sample`."""
        return self._draw("act", n, noise, z, out)

    def sample_and_log_prob(self, n: Optional[int] = None, *, noise: Optional[Noise] = None, z: Any = None,
                            out: Optional[Sequence[Optional[Array]]] = None) -> Tuple[Array, Array]:
        """(x [*B, n, *E], log_prob [*B, n]), without n [*B, *E] and [*B]."""
        self.policy._require("sample_and_log_prob")
        lead, count, given = self._draws(n, noise, z)
        first, second = _two(out)
        x = _output("x", first, lead + self.policy._event().shape)
        log_prob = _output("log_prob", second, lead)
        c_noise = self._noise(noise, count, given)
        self._entry("sample_and_log_prob", count, byref(c_noise), count, _address(x), _address(log_prob))
        return x, log_prob

    def sample_best(self, n: int, *, noise: Optional[Noise] = None, z: Any = None,
                    out: Optional[Sequence[Optional[Array]]] = None) -> Tuple[Array, Array]:
        """The most likely of n samples of each row: (x [*B, *E], log_prob [*B]). z, if given: [*B, n, *E]."""
        self.policy._require("sample_best")
        _lead, count, given = self._draws(n, noise, z)
        if count < 1:
            raise ValueError("n: wanted at least one sample per context row")
        first, second = _two(out)
        x = _output("x", first, self._batch + self.policy._event().shape)
        log_prob = _output("log_prob", second, self._batch)
        c_noise = self._noise(noise, count, given)
        self._entry("sample_best", count, byref(c_noise), count, _address(x), _address(log_prob))
        return x, log_prob


class _Bulk(Prepared):
    """The same with contexts as they are: each entry prepares and computes them piece by piece, on several threads."""

    def __init__(self, policy: "Policy", contexts: Contexts, threads: int) -> None:
        self.policy = policy
        self.rows, self._arrays = _rows(policy.info.contexts, contexts, "context")
        self._batch = () if self.rows is None else (self.rows,)
        self._threads = threads

    def _entry(self, name: str, n: int, *arguments: Any) -> None:
        first, second, *outputs = arguments  # n and x or z; or noise and n
        given, noise = (second, None) if first == n else (None, ctypes.cast(first, c_void_p))
        self.policy._require(name)
        if n > 0 and self.rows != 0:
            self.policy._bulk(name, 1 if self.rows is None else self.rows, n, self._arrays, given, noise,
                              (c_void_p * len(outputs))(*outputs), self._threads)


def _why_not_opened(status: int, error: int) -> str:
    if status == _FILE and error:
        noexec = "; is its folder mounted noexec?" if error == errno.EPERM else ""
        return f"cannot be opened: {os.strerror(error)}{noexec}"
    if status == _FILE:
        return "is no policy of nfcc, or a damaged one; nfcc.compile(\"model.onnx\", \"policy.so\") makes one"
    return str(_lib.nfcc_status_text(status).decode())


class _Handle(c_void_p):
    """What nfcc_open gave, closed when nothing refers to it: a call that another thread is in does."""

    def __del__(self, close: Any = _lib.nfcc_close) -> None:
        if self:
            close(self)


class Policy:
    """An opened policy. Its methods are the entries; `info` says which there are, and all names and shapes.

    Any number of threads may call one policy. Close it with `close()`, `with`, or by dropping it. Pickled or copied it
    is its path: another process opens the file again.
    """

    def __init__(self, path: PathLike, *, shared: bool = False, bulk: bool = False, lock: bool = False) -> None:
        handle = _Handle()
        self._handle: Optional[_Handle] = None
        self.path = os.fspath(path)
        self.report: Optional[str] = None
        self._absolute = os.path.abspath(os.fsdecode(path))
        self._flags = shared | bulk << 1 | lock << 2
        if b"\0" in os.fsencode(path):
            raise ValueError(f"{self.path!r}: a path holds no null character")
        status = _nfcc_open(os.fsencode(path), self._flags, byref(handle))
        if status:
            raise Error(f"{os.fsdecode(path)}: {_why_not_opened(status, ctypes.get_errno())}", status)
        self._handle = handle
        self.info: Info = _info(_lib.nfcc_get_info(handle).contents)
        self._local = threading.local()

    def close(self) -> None:
        """Give the memory back, once the calls that other threads are in have ended. Calls after it, and of its
        prepared contexts, raise ValueError."""
        self._handle = None

    def __enter__(self) -> "Policy":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __reduce__(self) -> Any:
        if not os.path.exists(self._absolute):
            raise TypeError(f"{self._absolute}: the file is gone, so the policy cannot be pickled; "
                            "nfcc.compile(model, output) keeps it")
        return _reopen, (self._absolute, self._flags)

    def __repr__(self) -> str:
        return f"<nfcc.Policy {self.path!r}: {', '.join(self.info.entries)}>"

    def _open(self) -> _Handle:
        handle = self._handle
        if handle is None:
            raise ValueError(f"{self.path}: the policy is closed")
        return handle

    def _workspace(self) -> int:
        memory = getattr(self._local, "memory", None)
        if memory is None:
            memory = self._local.memory = np.empty(self.info.work_size, np.uint8)
        return memory.ctypes.data

    def _require(self, entry: str) -> None:
        if entry in _ENTRIES and entry not in self.info.entries:
            raise Error(f"{entry}: the policy has no such entry; it has {', '.join(self.info.entries)}", _NO_ENTRY)

    def _call(self, name: str, *arguments: Any) -> None:
        self._require(name)
        _check(getattr(_lib, "nfcc_" + name)(self._open(), *arguments), name)

    def _bulk(self, name: str, rows: int, n: int, arrays: List[Array], given: Any, noise: Any, outputs: Any,
              threads: int) -> None:
        call = _Call(1 << _ENTRIES.index(name), rows, n, _pointers(arrays), given, noise, outputs)
        _check(_lib.nfcc_bulk(self._open(), byref(call), byref(_Threads(threads, None, None))), name)

    def _event(self) -> Value:
        if self.info.event is None:
            raise Error(f"{self.path} is no flow; it has only {', '.join(self.info.entries)}", _NO_ENTRY)
        return self.info.event

    def prepare(self, contexts: Optional[Contexts] = None, **named: Any) -> Prepared:
        """Work through contexts once, for several calls. Each context is [N, *its shape] or [*its shape]."""
        return Prepared(self, _names(contexts, named))

    def _with(self, contexts: Optional[Contexts], named: Contexts, threads: Optional[int]) -> Prepared:
        if threads is None:
            return self.prepare(contexts, **named)
        return _Bulk(self, _names(contexts, named), _thread_count(threads))

    def to_latent(self, x: Any, *, out: Optional[Sequence[Optional[Array]]] = None,
                  contexts: Optional[Contexts] = None, threads: Optional[int] = None,
                  **named: Any) -> Tuple[Array, Array]:
        """x [*B, n, *E] or [*B, *E] -> (z as x, log_det [*B, n] or [*B]), log_det = log abs det dz/dx."""
        return self._with(contexts, named, threads).to_latent(x, out=out)

    def to_event(self, z: Any, *, out: Optional[Sequence[Optional[Array]]] = None,
                 contexts: Optional[Contexts] = None, threads: Optional[int] = None,
                 **named: Any) -> Tuple[Array, Array]:
        """z [*B, n, *E] or [*B, *E] -> (x as z, log_det [*B, n] or [*B]), log_det = log abs det dx/dz."""
        return self._with(contexts, named, threads).to_event(z, out=out)

    def log_prob(self, x: Any, *, out: Optional[Array] = None, contexts: Optional[Contexts] = None,
                 threads: Optional[int] = None, **named: Any) -> Array:
        """x [*B, n, *E] or [*B, *E] -> log density [*B, n] or [*B] in nats; -inf outside the support."""
        return self._with(contexts, named, threads).log_prob(x, out=out)

    def score(self, x: Any, *, out: Optional[Array] = None, contexts: Optional[Contexts] = None,
              threads: Optional[int] = None, **named: Any) -> Array:
        """x [*B, n, *E] or [*B, *E] -> d log_prob / d x as x; NaN where log_prob is -inf."""
        return self._with(contexts, named, threads).score(x, out=out)

    def score_context(self, x: Any, *, contexts: Optional[Contexts] = None,
                      **named: Any) -> Tuple[Array, Dict[str, Array]]:
        """As `score`, and d log_prob / d context for each context by its name, [*B, n, *C] or [*B, *C]; 0 for integers.

        Only of a policy compiled with --score-context."""
        return self.prepare(contexts, **named).score_context(x)

    def sample(self, n: Optional[int] = None, *, noise: Optional[Noise] = None, z: Any = None,
               out: Optional[Array] = None, contexts: Optional[Contexts] = None, threads: Optional[int] = None,
               **named: Any) -> Array:
        """Events [*B, n, *E] ([*B, *E] without n), from a noise stream or from latents z of that shape."""
        return self._with(contexts, named, threads).sample(n, noise=noise, z=z, out=out)

    def act(self, n: Optional[int] = None, *, noise: Optional[Noise] = None, z: Any = None,
            out: Optional[Array] = None, contexts: Optional[Contexts] = None, threads: Optional[int] = None,
            **named: Any) -> Array:
        """The actions that ship, after the policy's output clip: shapes as `sample`."""
        return self._with(contexts, named, threads).act(n, noise=noise, z=z, out=out)

    def sample_and_log_prob(self, n: Optional[int] = None, *, noise: Optional[Noise] = None, z: Any = None,
                            out: Optional[Sequence[Optional[Array]]] = None, contexts: Optional[Contexts] = None,
                            threads: Optional[int] = None, **named: Any) -> Tuple[Array, Array]:
        """(x [*B, n, *E], log_prob [*B, n]), without n [*B, *E] and [*B]."""
        return self._with(contexts, named, threads).sample_and_log_prob(n, noise=noise, z=z, out=out)

    def sample_best(self, n: int, *, noise: Optional[Noise] = None, z: Any = None,
                    out: Optional[Sequence[Optional[Array]]] = None, contexts: Optional[Contexts] = None,
                    threads: Optional[int] = None, **named: Any) -> Tuple[Array, Array]:
        """The most likely of n samples of each row: (x [*B, *E], log_prob [*B]). z, if given: [*B, n, *E]."""
        return self._with(contexts, named, threads).sample_best(n, noise=noise, z=z, out=out)

    def run(self, inputs: Optional[Contexts] = None, *, out: Optional[Mapping[str, Array]] = None,
            threads: Optional[int] = None, **named: Any) -> Dict[str, Array]:
        """The exported graph itself: its inputs by name, [N, *shape] or [*shape] -> its outputs by name likewise."""
        self._require("run")
        rows, arrays = _rows(self.info.inputs, _names(inputs, named), "input")
        unknown = [name for name in out or {} if name not in {value.name for value in self.info.outputs}]
        if unknown:
            raise TypeError(f"{unknown[0]}: no output of this name ({', '.join(v.name for v in self.info.outputs)})")
        lead = () if rows is None else (rows,)
        made = {value.name: _output(value.name, (out or {}).get(value.name), lead + value.shape, value.dtype)
                for value in self.info.outputs}
        outputs = _pointers(list(made.values()))
        if rows != 0 and threads is not None:
            self._bulk("run", 1 if rows is None else rows, 1, arrays, None, None, outputs, _thread_count(threads))
        elif rows != 0:
            self._call("run", 1 if rows is None else rows, _pointers(arrays), outputs, self._workspace())
        return made

    def draw(self, seed: int, rows: int, *, first_row: int = 0, out: Optional[Array] = None) -> Array:
        """Noise of the standardised base (normals, unless it is another), [rows, *E]: rows first_row ... of the stream
        `seed`, as `sample` uses them before temperature."""
        rows = _row_count(rows)
        z = _output("z", out, (rows,) + self._event().shape)
        self._call("draw", _whole("seed", seed), _whole("first_row", first_row), rows, _address(z), self._workspace())
        return z

    def selftest(self) -> None:
        """Compute the rows stored at compile time and compare bit for bit; raises Error if they differ."""
        memory = np.empty(max(1, _lib.nfcc_selftest_size(self._open())), np.uint8)
        self._call("selftest", _address(memory), memory.size)


def _reopen(path: str, flags: int) -> Policy:
    return Policy(path, shared=bool(flags & 1), bulk=bool(flags & 2), lock=bool(flags & 4))


def open(path: PathLike, *, shared: bool = False, bulk: bool = False, lock: bool = False) -> Policy:  # noqa: A001
    """Open a compiled policy. shared: use the file's pages, shared between processes; bulk: spend memory on many
    rows; lock: keep the weights in memory (mlock)."""
    return Policy(path, shared=shared, bulk=bulk, lock=lock)


# ---- the compiler


def _find_compiler() -> str:
    places = _places("nfcc", "NFCC")
    found = next((str(place) for place in places if place.is_file() and os.access(place, os.X_OK)),
                 shutil.which("nfcc"))
    if not found:
        looked = ", ".join(str(place) for place in places)
        raise FileNotFoundError(f"the compiler nfcc is not there (looked at {looked} and PATH); build it with "
                                "./dev build, or set NFCC to its path")
    return found


_REPEATED = ("context", "normalize")  # options that may be given several times; of others a list is one value


def _option(name: str, value: Any) -> List[str]:
    option = "--" + name.replace("_", "-")
    if value is None or value is False:
        return []
    if value is True:
        return [option]
    parts = [str(part) for part in value] if isinstance(value, (tuple, list)) else [str(value)]
    values = parts if name in _REPEATED else [",".join(parts)]
    return [word for one in values for word in (option, one)]


def write(model: PathLike, output: PathLike, **options: Any) -> str:
    """Compile an ONNX file into files that are not opened here: `target="aarch64-linux-gnu"`, `emit=("o", "h")`.

    output and options are those of the command line: `max_error=1e-3` is `--max-error 1e-3`, `clip=(-1, 1)` is
    `--clip -1,1`, `verify=False` is `--no-verify`, True alone is a switch, `context=["a", "b"]` and a list for
    `normalize` repeat the option. Returns the compiler's report. Errors: CompileError with the compiler's message.
    """
    if not isinstance(model, (str, os.PathLike)):
        raise TypeError(f"model: wanted the path of an ONNX file, got {type(model).__name__}; "
                        "torch.onnx.export(...) or onnx.save(model, \"model.onnx\") writes one")
    words: List[str] = ["--no-verify"] if options.get("verify") is False else []
    for name, value in options.items():
        words += _option(name, value) if name != "verify" else []
    command = [_find_compiler(), "-o", os.fspath(output), *words, "--", os.fspath(model)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        raise CompileError(done.stderr.strip() or f"nfcc ended with {done.returncode}", done.returncode)
    return done.stdout


def compile(model: PathLike, output: Optional[PathLike] = None, **options: Any) -> Policy:  # noqa: A001
    """Compile an ONNX file and open the policy: `write`, then `open`.

    output: where to keep policy.so; None keeps no file. The compiler's report is the policy's `report`. What cannot be
    opened here (another target, a header alone) is an Error, and for `write`.
    """
    with tempfile.TemporaryDirectory(prefix="nfcc-") as folder:
        target = os.path.join(folder, "policy.so") if output is None else output
        report = write(model, target, **options)
        try:
            policy = Policy(target)
        except Error as error:
            raise Error(f"{error}\nnfcc.write(model, output, ...) compiles what is not to be opened here",
                        error.status) from None
    policy.report = report
    return policy
