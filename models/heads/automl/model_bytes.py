"""What LightAutoML fitted, as bytes that only what prediction needs can come out of.

Imports LightAutoML, torch and pandas: import it inside functions only.
"""

from __future__ import annotations

import functools
import importlib
import io
import pickle
import types
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightautoml.automl.blend import WeightedBlender
from lightautoml.ml_algo.tuning.base import ParamsTuner
from lightautoml.pipelines.ml.base import MLPipeline
from lightautoml.pipelines.selection.importance_based import ModelBasedImportanceEstimator
from lightautoml.reader.base import PandasToPandasReader
from lightautoml.tasks import Task
from lightautoml.tasks.base import LAMLMetric
from lightautoml.tasks.losses import TorchLossWrapper
from lightautoml.tasks.losses.base import Loss, MetricFunc
from lightautoml.utils.timer import Timer
from numpy.typing import NDArray

from affstore.store.contract.errors import ArchitectureError, UnsafePickleError

_NOT_NEEDED = (
    Timer,
    ParamsTuner,
    ModelBasedImportanceEstimator,
    LAMLMetric,
    Loss,
    MetricFunc,
    TorchLossWrapper,
    torch.nn.modules.loss._Loss,
    functools.partial,
    types.MethodType,
)
"""What only fitting needs. A task's losses and metrics are rebuilt from its name."""

_CLASSES_OF = {
    "lightautoml." + name
    for name in (
        "automl.blend",
        "dataset.np_pd_dataset",
        "dataset.roles",
        "ml_algo.boost_cb",
        "ml_algo.boost_lgbm",
        "ml_algo.linear_sklearn",
        "ml_algo.random_forest",
        "ml_algo.torch_based.linear_model",
        "ml_algo.utils",
        "pipelines.features.base",
        "pipelines.features.lgb_pipeline",
        "pipelines.features.linear_pipeline",
        "pipelines.ml.base",
        "pipelines.ml.nested_ml_pipe",
        "pipelines.selection.base",
        "pipelines.selection.importance_based",
        "reader.base",
        "transformers.base",
        "transformers.categorical",
        "transformers.numeric",
    )
}
"""Modules whose own classes a model may hold; their functions, and what they import, it may not."""

_NAMES = {
    "builtins": {"bytearray", "set", "frozenset", "slice", "complex", "object", "bool", "int", "float", "str"},
    "collections": {"OrderedDict", "defaultdict"},
    "numpy": {"ndarray", "dtype", "bool", "object_", "str_", "float32", "float64"}
    | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.numeric": {"_frombuffer"},
    "torch.nn.modules.linear": {"Linear", "Identity"},
    "torch.nn.modules.activation": {"Softmax", "Sigmoid"},
    "lightgbm.basic": {"Booster"},
    "catboost.core": {"CatBoost"},
    "sklearn.ensemble._forest": {"RandomForestClassifier", "RandomForestRegressor"},
    "sklearn.tree._classes": {"DecisionTreeClassifier", "DecisionTreeRegressor"},
    "sklearn.tree._tree": {"Tree"},
}
"""What a model may hold of other packages, each by its full name."""

_BROKEN = (pickle.UnpicklingError, EOFError, AttributeError, ImportError, LookupError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Search:
    """What one search of LightAutoML found, as far as prediction needs it.

    Attributes:
        columns: of the head's outputs, in the order of `predict`.
        reader: chooses and types the features.
        pipes: of models, all of one level.
        blender: weighs them.
    """

    columns: tuple[int, ...]
    reader: PandasToPandasReader
    pipes: list[MLPipeline]
    blender: WeightedBlender

    def predict(self, frame: pd.DataFrame) -> NDArray[np.float32]:
        """`(rows, columns)` for a frame of features."""
        dataset = self.reader.read(frame, features_names=None, add_array_attrs=False)
        return self.blender.predict([pipe.predict(dataset) for pipe in self.pipes]).data


def frame_of(x: NDArray[np.float32]) -> pd.DataFrame:
    """Features under the names that every search knows them by."""
    return pd.DataFrame(x, columns=[f"f{i}" for i in range(x.shape[1])])


def to_bytes(searches: list[Search]) -> bytes:
    """The searches without what only fitting needs; changes them to that state, too."""
    for search in searches:
        search.reader.target = None
        for pipe in search.pipes:
            for selector in (pipe.pre_selection, pipe.post_selection):
                # Models of its own, that chose the features.
                selector.ml_algo = selector._empty_algo = selector.imp_estimator = None
                selector.features_pipeline = selector.mapped_importances = None
    buffer = io.BytesIO()
    _Writer(buffer, protocol=5).dump([(one.columns, one.reader, one.pipes, one.blender) for one in searches])
    return buffer.getvalue()


def from_bytes(data: bytes | memoryview, what: str) -> list[Search]:
    """Read the searches; a name outside the list is refused before anything of its module is imported.

    Args:
        data: of `to_bytes`.
        what: whose they are, as the message should say.

    Raises:
        UnsafePickleError: something is asked for that no fitted model holds.
        ArchitectureError: they are damaged, or of another version of a package.
    """
    try:
        return [Search(*parts) for parts in _Reader(io.BytesIO(data), what).load()]
    except _BROKEN as error:
        raise ArchitectureError(
            f"The model of {what} cannot be read ({type(error).__name__}: {error}). It is damaged, or was fitted with "
            "other versions of LightAutoML or of what that uses, which its report names. Fit it again."
        ) from error


class _Writer(pickle.Pickler):
    """Writes plain arrays for tensors and pandas' objects, and nothing for what is not needed."""

    def persistent_id(self, obj: Any) -> tuple[Any, ...] | None:
        """What is written in place of an object; None for the object itself."""
        if isinstance(obj, Task):
            return ("task", obj.name)
        if isinstance(obj, torch.Tensor):
            return ("parameter" if isinstance(obj, torch.nn.Parameter) else "tensor", obj.detach().numpy())
        if isinstance(obj, pd.Series):
            return ("series", obj.to_numpy(), obj.index.to_numpy(dtype=object))
        if isinstance(obj, pd.Index):
            return ("index", obj.to_numpy(dtype=object))
        metric = isinstance(obj, types.FunctionType) and obj.__module__.partition(".")[0] in ("lightautoml", "sklearn")
        return ("nothing",) if metric or isinstance(obj, _NOT_NEEDED) else None


class _Reader(pickle.Unpickler):
    """Builds what `_NAMES` and `_CLASSES_OF` allow, and no more."""

    def __init__(self, file: io.BytesIO, what: str) -> None:
        super().__init__(file)
        self._what = what

    def find_class(self, module: str, name: str) -> Any:
        """A class that the model may be made of; anything else is refused."""
        if name in _NAMES.get(module, ()):
            return super().find_class(module, name)
        if module in _CLASSES_OF and "." not in name:
            found = getattr(importlib.import_module(module), name, None)
            if isinstance(found, type) and found.__module__ == module:
                return found
        raise UnsafePickleError(
            f"The model of {self._what} asks for '{module}.{name}', which no model that LightAutoML fitted here holds. "
            "Nothing was executed. Fit it again, and find out who wrote it."
        )

    def persistent_load(self, pid: Any) -> Any:
        """The object that was written as `pid`."""
        kind, *parts = pid
        if kind == "task":
            return Task(*parts)
        if kind in ("tensor", "parameter"):
            tensor = torch.from_numpy(np.array(parts[0]))
            return torch.nn.Parameter(tensor, requires_grad=False) if kind == "parameter" else tensor
        if kind == "series":
            return pd.Series(parts[0], index=parts[1])
        return pd.Index(parts[0]) if kind == "index" else None
