"""The classifiers of scikit-learn that the measures learn with, set as disentanglement_lib sets them."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

# Both choose each split among all codes: a choice among some must take what tells nothing, and call it important.
BOOSTERS = {"gradient_boosting": "GradientBoostingClassifier", "random_forest": "RandomForestClassifier"}
Booster = str | Callable[[], Any]


def logistic_regression() -> Any:
    """With an L2 penalty, C = 1, multinomial; more iterations than the default 100, so that it comes to its end."""
    return _of_sklearn("linear_model", "LogisticRegression")(max_iter=1000)


def linear_svm() -> Any:
    """Squared hinge, C = 0.01, classes weighed alike; solved in the primal, which needs no random numbers."""
    return _of_sklearn("svm", "LinearSVC")(C=0.01, class_weight="balanced", dual=False)


def booster_of(booster: Booster, seed: int) -> tuple[str, Any]:
    """Its name, and an untrained classifier with `feature_importances_`.

    Raises:
        TypeError, ValueError: neither a known name nor something to call.
    """
    if isinstance(booster, str):
        if booster not in BOOSTERS:
            raise ValueError(f"booster: expected {', '.join(BOOSTERS)} or a callable, got {booster!r}")
        return booster, _of_sklearn("ensemble", BOOSTERS[booster])(max_features=None, random_state=seed)
    if not callable(booster):
        raise TypeError(f"booster: expected a name or a callable, got {type(booster).__name__}")
    made = booster()
    return type(made).__name__, made


def area_under_curve(positive: Any, scores: Any) -> float:
    """Area under the receiver operating characteristic."""
    return float(_of_sklearn("metrics", "roc_auc_score")(positive, scores))


def _of_sklearn(module: str, name: str) -> Any:
    try:
        return getattr(import_module(f"sklearn.{module}"), name)
    except ImportError as error:
        raise ImportError("this measure needs scikit-learn: pip install aevae_fast[train]") from error
