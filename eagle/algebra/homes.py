"""Arrays of other libraries: where they live, how numpy sees them, and how values go back.

A `Home` is a library and a device. On the CPU numpy looks at the same memory, every method runs
as it is, and the value goes back the same way; elsewhere `eagle.algebra.stacked` computes where the
arrays are. No library is imported here: whoever holds one of its arrays has imported it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

HALF = ("float16", "bfloat16")  # computed in float32
FULL = ("float32", "float64", "complex64", "complex128")
DLPACK_CPU = 1  # kDLCPU of the DLPack header
Blocks = tuple[Any, Any, Any]  # A, B, C; B or C may be None, an identity


@dataclass(frozen=True)
class Home:
    """A library and a device that arrays live in.

    Attributes
    ----------
    library : str
    device : object
        As the library calls it.
    """

    library: str
    device: Any

    def __str__(self) -> str:
        return f"an array of {self.library} on {self.device}"

    @property
    def xp(self) -> Any:
        """The library's own namespace; all that is asked of it is dtypes and functions."""
        return sys.modules[self.library]

    @property
    def on_cpu(self) -> bool:
        """Whether numpy can look at the memory of the arrays."""
        raise NotImplementedError

    @property
    def widest(self) -> str:
        """What integers become: float64 where there is such a thing."""
        return "float64"

    def refuse(self, name: str, array: Any) -> None:
        """Raise TypeError for what is no dense array with entries."""

    def view(self, array: Any) -> np.ndarray:
        """A numpy array on the same memory, for arrays on the CPU."""
        raise NotImplementedError

    def functions(self, like: Any) -> Any:
        """The library as the array API wants it."""
        try:
            from array_api_compat import array_namespace
        except ImportError as error:
            raise ImportError(
                f"{self} needs array-api-compat: pip install 'eagle-solver[arrays]'"
            ) from error
        return array_namespace(like)

    def array(self, value: np.ndarray) -> Any:
        """An array of the library on the same memory if it is on the CPU, else a copy there."""
        raise NotImplementedError

    def to_host(self, array: Any) -> np.ndarray:
        """A numpy copy of a few numbers."""
        return self.view(array)

    def precisely(self) -> contextlib.AbstractContextManager[Any]:
        """Products in full precision for as long as it lasts."""
        return contextlib.nullcontext()

    def adjoint(self, array: Any) -> Any:
        """``A^H`` of the last two dimensions."""
        return (self.xp.conj(array) if "complex" in _name(array.dtype) else array).mT

    def astype(self, array: Any, dtype: str) -> Any:
        """The array itself if it has that dtype, otherwise a copy."""
        if _name(array.dtype) == dtype:
            return array
        return self.xp.astype(array, getattr(self.xp, dtype))

    def follows(self, blocks: Sequence[Any]) -> bool:
        """Whether somebody differentiates or traces what is computed from these blocks."""
        return False

    def block(self, name: str, array: Any, *, vectors: bool = False) -> Any:
        """The array as it is, if it has the right kind of shape and entries."""
        self.refuse(name, array)
        if _name(array.dtype) not in (*HALF, *FULL) and not _is_integer(array.dtype):
            raise TypeError(
                f"{name} must have a dtype among {', '.join((*HALF, *FULL))}, integers and bool, "
                f"got {array.dtype}"
            )
        if array.ndim < (1 if vectors else 2):
            wanted = "1-D or 2-D" if vectors else "2-D"
            raise ValueError(f"{name} must be {wanted} or more, got shape {tuple(array.shape)}")
        return array

    def result_type(self, blocks: Sequence[Any]) -> str:
        """What the value of these blocks comes back as."""
        names = {
            self.widest if _is_integer(block.dtype) else _name(block.dtype) for block in blocks
        }
        if len(names) == 1:
            return names.pop()
        double = bool(names & {"float64", "complex128"})
        if any("complex" in name for name in names):
            return "complex128" if double else "complex64"
        return "float64" if double else "float32"

    def to_compute(self, blocks: Blocks) -> tuple[str, Blocks]:
        """What the value comes back as, and the blocks in the dtype that it is computed in."""
        dtype = self.result_type([block for block in blocks if block is not None])
        work = "float32" if dtype in HALF else dtype
        A, B, C = (None if block is None else self.astype(block, work) for block in blocks)
        return dtype, (A, B, C)


@dataclass(frozen=True)
class Host(Home):
    """numpy's own arrays, in stacks."""

    library: str = "numpy"
    device: Any = "cpu"

    @property
    def on_cpu(self) -> bool:
        return True

    def functions(self, like: Any) -> Any:
        return np

    def view(self, array: Any) -> np.ndarray:
        return array

    def array(self, value: np.ndarray) -> Any:
        return value

    def astype(self, array: Any, dtype: str) -> Any:
        return array.astype(dtype, copy=False)


@dataclass(frozen=True)
class Torch(Home):
    """Tensors."""

    def __str__(self) -> str:
        return f"a torch tensor on {self.device}"

    @property
    def on_cpu(self) -> bool:
        return self.device.type == "cpu"

    @property
    def widest(self) -> str:
        return "float32" if self.device.type == "mps" else "float64"

    def refuse(self, name: str, array: Any) -> None:
        if array.layout is not self.xp.strided or array.is_nested:
            raise TypeError(f"{name} is a tensor with layout {array.layout}; pass a dense one")
        if array.device.type == "meta":
            raise TypeError(f"{name} is a tensor on the device 'meta', which has no entries")

    def view(self, array: Any) -> np.ndarray:
        return array.detach().resolve_conj().resolve_neg().numpy()

    def array(self, value: np.ndarray) -> Any:
        writeable = value if value.flags.writeable else value.copy()
        return self.xp.from_numpy(writeable).to(self.device)

    def to_host(self, array: Any) -> np.ndarray:
        return self.view(array.cpu())

    def astype(self, array: Any, dtype: str) -> Any:
        return array.to(getattr(self.xp, dtype))

    def follows(self, blocks: Sequence[Any]) -> bool:
        if self.xp.is_grad_enabled() and any(block.requires_grad for block in blocks):
            return True
        if self.xp._C._functorch.maybe_current_level() is not None:  # within torch.func
            return True
        dual = self.xp.autograd.forward_ad.unpack_dual
        return any(dual(block).tangent is not None for block in blocks)


@dataclass(frozen=True)
class Jax(Home):
    """Arrays of jax, whose device is None while they are traced."""

    def __eq__(self, other: object) -> bool:
        traced = isinstance(other, Jax) and None in (self.device, other.device)
        return traced or (isinstance(other, Jax) and self.device == other.device)

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return "a traced array of jax" if self.device is None else super().__str__()

    @property
    def xp(self) -> Any:
        return sys.modules["jax"].numpy

    @property
    def on_cpu(self) -> bool:
        return self.device is not None and self.device.platform == "cpu"

    @property
    def widest(self) -> str:
        return "float64" if sys.modules["jax"].config.jax_enable_x64 else "float32"

    def refuse(self, name: str, array: Any) -> None:
        if not self._traced(array) and len(array.devices()) > 1:
            raise TypeError(f"{name} is spread over several devices; gather it on one first")

    def view(self, array: Any) -> np.ndarray:
        return np.asarray(array)

    def array(self, value: np.ndarray) -> Any:
        return sys.modules["jax"].device_put(value, self.device)

    def precisely(self) -> contextlib.AbstractContextManager[Any]:
        return sys.modules["jax"].default_matmul_precision("highest")

    def follows(self, blocks: Sequence[Any]) -> bool:
        return any(self._traced(block) for block in blocks)

    def _traced(self, array: Any) -> bool:
        return isinstance(array, sys.modules["jax"].core.Tracer)


@dataclass(frozen=True)
class Cupy(Home):
    """Arrays of cupy."""

    @property
    def on_cpu(self) -> bool:
        return False

    def array(self, value: np.ndarray) -> Any:
        with self.device:
            return self.xp.asarray(value)

    def to_host(self, array: Any) -> np.ndarray:
        return array.get()

    def astype(self, array: Any, dtype: str) -> Any:
        return array.astype(dtype, copy=False)


@dataclass(frozen=True)
class Standard(Home):
    """Arrays of any other library that keeps to the array API standard."""

    namespace: Any

    @property
    def xp(self) -> Any:
        return self.namespace

    @property
    def on_cpu(self) -> bool:
        info = self.namespace.__array_namespace_info__()
        empty = self.namespace.zeros(0, device=self.device)
        return self.device == info.default_device() and empty.__dlpack_device__()[0] == DLPACK_CPU

    @property
    def widest(self) -> str:
        info = self.namespace.__array_namespace_info__()
        real = info.dtypes(device=self.device, kind="real floating")
        return "float64" if "float64" in real else "float32"

    def view(self, array: Any) -> np.ndarray:
        return np.from_dlpack(array)

    def array(self, value: np.ndarray) -> Any:
        return self.namespace.asarray(value, device=self.device)

    def to_host(self, array: Any) -> np.ndarray:
        info = self.namespace.__array_namespace_info__()
        return np.from_dlpack(array.to_device(info.default_device()))


@runtime_checkable
class Conforming(Protocol):
    """An array of any library that conforms to the array API standard."""

    device: Any

    def __array_namespace__(self) -> Any: ...

    def __dlpack__(self) -> Any: ...


def find_home(**blocks: Any) -> Home | None:
    """Where the given blocks live; None for numpy's own and whatever numpy takes.

    Raises TypeError, naming both, for two that live in different places.
    """
    homes = {name: _home(value) for name, value in blocks.items()}
    first, *others = homes
    for name in others:
        if homes[name] != homes[first]:
            raise TypeError(
                f"{first} is {homes[first] or 'a numpy array'} and {name} is "
                f"{homes[name] or 'a numpy array'}: pass arrays of one library on one device"
            )
    return homes[first]


def adjoint(array: Any) -> Any:
    """``A^H`` of the last two dimensions, in any library."""
    home = _home(array)
    return np.swapaxes(array.conj(), -1, -2) if home is None else home.adjoint(array)


def _home(value: Any) -> Home | None:
    if isinstance(value, np.ndarray | np.generic):
        return None
    names = {base.__module__.partition(".")[0] for base in type(value).__mro__}
    packages = {name for name in names if name in sys.modules}
    if "torch" in packages and isinstance(value, sys.modules["torch"].Tensor):
        return Torch("torch", value.device)
    if packages & {"jax", "jaxlib"} and isinstance(value, sys.modules["jax"].Array):
        traced = isinstance(value, sys.modules["jax"].core.Tracer)
        return Jax("jax", None if traced else min(value.devices(), key=lambda each: each.id))
    if "cupy" in packages and isinstance(value, sys.modules["cupy"].ndarray):
        return Cupy("cupy", value.device)
    if isinstance(value, Conforming):
        namespace = value.__array_namespace__()
        return Standard(namespace.__name__.partition(".")[0], value.device, namespace)
    return None


def _name(dtype: Any) -> str:
    """``"float32"`` for numpy's, torch's and everybody's float32."""
    return str(dtype).rpartition(".")[2]


def _is_integer(dtype: Any) -> bool:
    return _name(dtype).startswith(("int", "uint", "bool"))


def real(dtype: str) -> str:
    """The name of what the real parts of a dtype are."""
    return {"complex64": "float32", "complex128": "float64"}.get(dtype, dtype)
