"""lm-eval's command line learns the model `pebench` from here.

lm-eval 0.4 has no entry points of its own and imports torch before it looks for a model. Torch calls the entry
points of its group `torch.backends` when it is imported, and `register` is one of them. TORCH_DEVICE_BACKEND_AUTOLOAD=0
turns that off; `import pebench.suite.runs.harness` registers the model as well.
"""

import sys

MODEL = "pebench"
CLASS = "pebench.suite.runs.harness:CheckpointLM"


def register() -> None:
    """Name our model to lm-eval where that is being imported; anywhere else do nothing. Loads no model code."""
    if "lm_eval" not in sys.modules:
        return
    import lm_eval.models  # noqa: F401 (lm-eval lists its own models only while no model is registered)
    from lm_eval.api.registry import model_registry

    if MODEL not in model_registry:
        model_registry.register(MODEL, target=CLASS)
