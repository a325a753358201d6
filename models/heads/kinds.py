"""Every kind of head, as specs: what is trained, and what learns nothing."""

from __future__ import annotations

from models.heads.automl_specs import AutoMlSpec
from models.heads.finetune_specs import FineTuneSpec
from models.heads.pretrained import PretrainedSpec
from models.heads.sequence_specs import SequenceSpec
from models.heads.specs import MlpSpec

HeadSpec = MlpSpec | AutoMlSpec | SequenceSpec | FineTuneSpec | PretrainedSpec
