"""Settings of datasets: which one to train on, and how one is made from other files."""

from dataclasses import dataclass

from edm2lite.config.units import check_choice, check_range

SD_VAE = "stabilityai/sd-vae-ft-mse"


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which images.

    Attributes:
        name: "digits" (scikit-learn's 1,797 handwritten digits, 8x8) or "patches" (16x16 RGB crops of its two photographs);
            with a path, what to call the data (default: the name of the file).
        path: Dataset made by `edm2lite data convert` or `encode`: a packed folder, or a ZIP in NVIDIA's layout.
        conditional: Train with class labels.
        num_workers: Processes that prepare batches; 0: the training process itself.
    """

    name: str | None = None
    path: str | None = None
    conditional: bool = True
    num_workers: int = 0

    def __post_init__(self) -> None:
        check_range("data.num_workers", self.num_workers >= 0, self.num_workers, "0 or more")


@dataclass(frozen=True, kw_only=True)
class ConvertConfig:
    """A dataset from image files: ADM's centre crop to one size. Interrupted, the same command goes on.

    Attributes:
        source: ILSVRC2012 as Kaggle ships it, its original tars, a folder of class folders, a folder of Hugging Face's parquet
            files, or a dataset made before (packed folder or ZIP).
        dest: Dataset to write: a path that ends in .zip for NVIDIA's layout, any other for a packed folder.
        size: Height and width of the images, in pixels; None: as they are, which must be all of one size.
        workers: Processes; None: one for every core.
        exif: "ignore" takes pixels as stored, as all published models did; "apply" turns pictures upright by their EXIF tag.
    """

    source: str = ""
    dest: str = ""
    size: int | None = None
    workers: int | None = None
    exif: str = "ignore"

    def __post_init__(self) -> None:
        check_range("source", self.source != "", repr(self.source), "the images to convert: --source PATH")
        check_range("dest", self.dest != "", repr(self.dest), "the dataset to write: --dest PATH (.zip, or a folder)")
        check_range("size", self.size is None or self.size > 0, self.size, "positive")
        check_range("workers", self.workers is None or self.workers > 0, self.workers, "positive")
        check_choice("exif", self.exif, ("ignore", "apply"))


@dataclass(frozen=True, kw_only=True)
class EncodeConfig:
    """Latents of a dataset of images: mean and std of the VAE's posterior. Interrupted, the same command goes on.

    Started on several ranks (torchrun, srun), each takes its share.

    Attributes:
        source: Dataset of RGB images (packed folder or ZIP).
        dest: Dataset of latents to write: a path that ends in .zip for NVIDIA's layout, any other for a packed folder.
        vae: Hub name or folder of diffusers' AutoencoderKL.
        dtype: Of the stored numbers: fp16 or fp32.
        statistics: Of the raw latents, by which training standardises them: "published" (Stable Diffusion's VAE on ImageNet),
            or "measured" on this dataset (packed folder only).
        batch_size: Images that pass the VAE together.
        device: cpu, cuda, cuda:1 or auto.
    """

    source: str = ""
    dest: str = ""
    vae: str = SD_VAE
    dtype: str = "fp32"
    statistics: str = "published"
    batch_size: int = 16
    device: str = "auto"

    def __post_init__(self) -> None:
        check_range("source", self.source != "", repr(self.source), "the dataset to encode: --source PATH")
        check_range("dest", self.dest != "", repr(self.dest), "the dataset to write: --dest PATH (.zip, or a folder)")
        check_choice("dtype", self.dtype, ("fp16", "fp32"))
        check_choice("statistics", self.statistics, ("published", "measured"))
        check_range("batch_size", self.batch_size > 0, self.batch_size, "positive")


@dataclass(frozen=True, kw_only=True)
class CheckConfig:
    """What is in a dataset, and whether it is fit for training.

    Attributes:
        path: Dataset (packed folder or ZIP); excludes name.
        name: Bundled dataset: digits or patches.
        images: At most so many images, evenly spread, are read for the statistics.
        vae: Hub name or folder of the VAE that decodes latents for the contact sheet; null: draw the latents themselves.
        out: Contact sheet to write (.png).
    """

    path: str | None = None
    name: str | None = None
    images: int = 10_000
    vae: str | None = None
    out: str = "contact_sheet.png"

    def __post_init__(self) -> None:
        ok = (self.path is None) != (self.name is None)
        check_range("path", ok, self.path, "the dataset to look at: --path PATH, or --name digits")
        check_range("images", self.images >= 2, self.images, "at least 2")
