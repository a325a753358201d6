"""Every kind of head, as specs: what is trained, and what learns nothing."""

from __future__ import annotations

from affstore.models.heads.automl_specs import AutoMlSpec
from affstore.models.heads.finetune_specs import FineTuneSpec
from affstore.models.heads.pretrained import PretrainedSpec
from affstore.models.heads.sequence_specs import SequenceSpec
from affstore.models.heads.specs import MlpSpec

HeadSpec = MlpSpec | AutoMlSpec | SequenceSpec | FineTuneSpec | PretrainedSpec
