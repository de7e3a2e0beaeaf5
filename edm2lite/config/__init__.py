"""Everything that can be set, as frozen dataclasses. Imports no torch, so that `--help` answers at once.

One YAML file fills one of the classes that a command takes: `TrainConfig`, `SampleConfig`, `TableConfig` ... A value that is
derived from others is computed where it is used, never stored here.
"""

from edm2lite.config.data import SD_VAE, CheckConfig, ConvertConfig, DataConfig, EncodeConfig
from edm2lite.config.evaluation import MetricsConfig, RefConfig, ReportConfig, TableConfig, TableRow
from edm2lite.config.guidance import (
    ClassifierConfig,
    GradientConfig,
    GuidanceConfig,
    GuideConfig,
    ScheduleConfig,
    WeightConfig,
    all_guides,
)
from edm2lite.config.models import ModelRef
from edm2lite.config.sampling import SampleConfig, SamplerConfig
from edm2lite.config.snapshots import ExportConfig, InfoConfig, PushConfig
from edm2lite.config.training import (
    LoggingConfig,
    NetworkConfig,
    TrainConfig,
    TrainerConfig,
    TrainingConfig,
)
from edm2lite.config.units import Nimg, check_choice, check_range, parse_seeds, plain

__all__ = [
    "SD_VAE",
    "CheckConfig",
    "ClassifierConfig",
    "ConvertConfig",
    "DataConfig",
    "EncodeConfig",
    "ExportConfig",
    "GradientConfig",
    "GuidanceConfig",
    "GuideConfig",
    "InfoConfig",
    "LoggingConfig",
    "MetricsConfig",
    "ModelRef",
    "NetworkConfig",
    "Nimg",
    "PushConfig",
    "RefConfig",
    "ReportConfig",
    "SampleConfig",
    "SamplerConfig",
    "ScheduleConfig",
    "TableConfig",
    "TableRow",
    "TrainConfig",
    "TrainerConfig",
    "TrainingConfig",
    "WeightConfig",
    "all_guides",
    "check_choice",
    "check_range",
    "parse_seeds",
    "plain",
]
