"""The network's task and how the answer is scored.

1. A task is a component: `task="multilabel"` or a table, in `fit`, `evaluate`, `bind` and recipes. The
   default, `classification`, is left out of a recipe's table: run ids, draws and numbers stay what they were.
2. A `Score` (everychip.scores) is one number of a chip: name, unit, direction, bounds. A task lists its
   scores and judges one; draws, verdicts, comparisons and yields read the score and know no task.
3. `Task.answer` picks what is scored out of a model's output; `loss` is what methods train by; `validate_for`
   refuses targets in one line, before any training; `chance` is the best answer that does not look.
4. `Task.meter` takes batches and keeps counts, so that neither logits nor data need fit into memory.
   torchmetrics computes F1, exact match, mIoU, RMSE, MAE and R2. Counted here, and held to torchmetrics by
   tests, are accuracy, calibration error, perplexity, retrieval, cosine and recall: torchmetrics takes the
   argmax of NaN for an answer, and sums in float32, which would change draws by their batches. Its mAP needs
   torchvision or pycocotools.
5. Data are `Examples`: inputs (a tensor, a tuple of several, a dict that names them, a list) beside targets.
   Reading them from loaders, tables and the hub is the data package's; a task only turns them into its own.
6. A task without labels makes its targets: `Embedding.prepared` runs the digital network once.
7. `scored_by` makes a score of any function, of predictions and targets or of a chip that can be run.
8. One file a task; a new one needs no list to be edited but this one.
"""

from __future__ import annotations

from everychip.scores import Score
from everychip.tasks.base import Meter, Task
from everychip.tasks.classification import Classification
from everychip.tasks.detection import Detection
from everychip.tasks.embedding import Embedding
from everychip.tasks.multilabel import Multilabel
from everychip.tasks.own import OwnScore, a_score, scored_by
from everychip.tasks.regression import Regression
from everychip.tasks.segmentation import Segmentation
from everychip.tasks.tokens import Tokens

__all__ = [
    "Classification",
    "Detection",
    "Embedding",
    "Meter",
    "Multilabel",
    "OwnScore",
    "Regression",
    "Score",
    "Segmentation",
    "Task",
    "Tokens",
    "a_score",
    "scored_by",
]
