"""Settings of what is done with finished models: look at them, export them, share them."""

from dataclasses import dataclass, field

from edm2lite.config.data import SD_VAE
from edm2lite.config.guidance import WeightConfig
from edm2lite.config.models import ModelRef
from edm2lite.config.units import Nimg, check_choice, check_range
from edm2lite.errors import UserError


@dataclass(frozen=True, kw_only=True)
class InfoConfig:
    """What a snapshot, a run directory, or one of NVIDIA's files is.

    Attributes:
        path: Snapshot file (.safetensors), run directory, NVIDIA snapshot (.pkl), or the URL of such a file.
        nimg: Which snapshot of a run directory, for example 128Mi; default: the last.
        ema: Which of the EMA lengths stored at that time; default: the shortest.
        json: Print JSON instead of text.
    """

    path: str = ""
    nimg: Nimg | None = None
    ema: float | None = None
    json: bool = False

    def __post_init__(self) -> None:
        check_range("path", self.path != "", repr(self.path), "a snapshot or a run directory: --path PATH")


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """A folder that diffusers can load as a pipeline, from a main model and, optionally, a guide.

    Attributes:
        main: The model.
        guide: A worse version of it.
        guidance: How the guide is used unless a call of the pipeline says otherwise.
        dest: Folder to write; new or empty.
        models: Folder with NVIDIA's files, or with run directories of imported ones, for models named nvidia:...
        vae: Hub name or folder of the VAE, for models of latents; it becomes a part of the pipeline.
        dtype: Of the stored weights of the networks: fp32 or fp16. NVIDIA's files hold fp16, so that nothing is lost of them.
    """

    main: ModelRef = field(default_factory=ModelRef)
    guide: ModelRef = field(default_factory=ModelRef)
    guidance: WeightConfig = field(default_factory=WeightConfig)
    dest: str = ""
    models: str | None = None
    vae: str = SD_VAE
    dtype: str = "fp32"

    def __post_init__(self) -> None:
        check_range("dest", self.dest != "", repr(self.dest), "the folder to write: --dest FOLDER")
        check_choice("dtype", self.dtype, ("fp32", "fp16"))
        for name, ref in (("main", self.main), ("guide", self.guide)):
            if ref.degradations:
                raise UserError(
                    f"{name}.{next(iter(ref.degradations))} is set, but a pipeline holds models as they are; "
                    "leave it out, and use sample.py for it"
                )


@dataclass(frozen=True, kw_only=True)
class PushConfig:
    """Upload an exported pipeline, or snapshots, to the Hugging Face hub.

    Attributes:
        path: Folder made by `edm2lite snapshot export`, a run directory or folder of snapshots, or one snapshot file.
        repo: Where to: USER/NAME; it is made if need be.
        private: Make a new repository private.
        message: Commit message.
    """

    path: str = ""
    repo: str = ""
    private: bool = False
    message: str = "Upload by edm2lite"

    def __post_init__(self) -> None:
        check_range("path", self.path != "", repr(self.path), "what to upload: --path FOLDER_OR_FILE")
        ok = len(parts := self.repo.split("/")) == 2 and all(parts)
        check_range("repo", ok, repr(self.repo), "USER/NAME on the hub, as in --repo jane/digits")
