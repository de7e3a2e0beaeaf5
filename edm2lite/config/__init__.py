"""Everything that can be set, as frozen dataclasses. Imports no torch, so that `--help` answers at once.

One YAML file fills one of the classes that a command takes: `TrainConfig`, `SampleConfig`, `TableConfig` ... A value that is
derived from others is computed where it is used, never stored here.
"""

from edm2lite.config.claims import ClaimConfig, ComparisonConfig
from edm2lite.config.data import SD_VAE, CheckConfig, ConvertConfig, DataConfig, EncodeConfig
from edm2lite.config.evaluation import MeasureConfig, MetricsConfig, RefConfig
from edm2lite.config.guidance import (
    ClassifierConfig,
    GradientConfig,
    GuidanceConfig,
    GuideConfig,
    ScheduleConfig,
    WeightConfig,
    all_guides,
)
from edm2lite.config.metrics import Metric, parse_metric, parse_metrics
from edm2lite.config.models import ModelRef
from edm2lite.config.reports import ReportConfig
from edm2lite.config.sampling import SampleConfig, SamplerConfig
from edm2lite.config.snapshots import ExportConfig, InfoConfig, PushConfig
from edm2lite.config.sweeps import RangeConfig, SweepConfig, SweepPoint
from edm2lite.config.tables import TableConfig, TableRow
from edm2lite.config.toy2d import Toy2dMeasureConfig, Toy2dPlotConfig, Toy2dTrainConfig
from edm2lite.config.training import (
    LoggingConfig,
    NetworkConfig,
    TrainConfig,
    TrainerConfig,
    TrainingConfig,
)
from edm2lite.config.units import Nimg, check_choice, check_range, parse_seeds, plain
from edm2lite.config.watching import WatchConfig

__all__ = [
    "SD_VAE",
    "CheckConfig",
    "ClaimConfig",
    "ClassifierConfig",
    "ComparisonConfig",
    "ConvertConfig",
    "DataConfig",
    "EncodeConfig",
    "ExportConfig",
    "GradientConfig",
    "GuidanceConfig",
    "GuideConfig",
    "InfoConfig",
    "LoggingConfig",
    "MeasureConfig",
    "Metric",
    "MetricsConfig",
    "ModelRef",
    "NetworkConfig",
    "Nimg",
    "PushConfig",
    "RangeConfig",
    "RefConfig",
    "ReportConfig",
    "SampleConfig",
    "SamplerConfig",
    "ScheduleConfig",
    "SweepConfig",
    "SweepPoint",
    "TableConfig",
    "TableRow",
    "Toy2dMeasureConfig",
    "Toy2dPlotConfig",
    "Toy2dTrainConfig",
    "TrainConfig",
    "TrainerConfig",
    "TrainingConfig",
    "WatchConfig",
    "WeightConfig",
    "all_guides",
    "check_choice",
    "check_range",
    "parse_metric",
    "parse_metrics",
    "parse_seeds",
    "plain",
]
