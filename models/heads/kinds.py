"""Every kind of head, as specs: what is trained, and what learns nothing."""

from __future__ import annotations

from affstore.models.heads.automl.spec import AutoMlSpec
from affstore.models.heads.finetuned.spec import FineTuneSpec
from affstore.models.heads.mlp.spec import MlpSpec
from affstore.models.heads.pretrained import PretrainedSpec
from affstore.models.heads.sequence.spec import SequenceSpec

HeadSpec = MlpSpec | AutoMlSpec | SequenceSpec | FineTuneSpec | PretrainedSpec
