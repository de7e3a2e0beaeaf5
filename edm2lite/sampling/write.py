"""A folder of sampled images, filled by any number of processes."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from edm2lite.background import Behind
from edm2lite.config import SampleConfig, parse_seeds
from edm2lite.data.prepare.workspace import room_on_disk
from edm2lite.progress import progress_bar
from edm2lite.ranks import is_first_rank, parse_shard
from edm2lite.sampling.generate import Samples, classes
from edm2lite.sampling.look import write_looks
from edm2lite.sampling.manifest import Manifest
from edm2lite.sampling.outdir import check_outdir
from edm2lite.sampling.pair import Pair, configured_pair
from edm2lite.sampling.stores import Store, on_host, open_store


def sample(cfg: SampleConfig) -> None:
    """Sample the seeds of this process's shard that `cfg.outdir` does not hold yet.

    Any number of processes may fill one folder. Each writes its own images and then looks: who finds all of them there
    completes the folder, so that the last one surely does, and two at the same time write the same.

    Raises:
        UserError: If the folder holds images made otherwise, a model cannot be loaded, or the disk is full.
    """
    check_outdir(cfg.outdir)
    seeds, shard, outdir = parse_seeds(cfg.seeds), parse_shard(cfg.shard), Path(cfg.outdir)
    pair = configured_pair(cfg)
    pair.check(cfg.label, cfg.labels)
    manifest, store = Manifest(cfg, pair), open_store(outdir, cfg.format, cfg.latents)
    with room_on_disk(outdir):
        manifest.begin(bool(_missing(store, seeds)), alone=shard.count == 1)
        _fill(cfg, pair, store, manifest, seeds[shard.index :: shard.count])
        if others := _missing(store, seeds):
            print(f"{outdir}: shard {shard.index}/{shard.count} is done; other shards lack {len(others)} images")
        else:
            store.complete()
            _finish(cfg, pair, store, manifest)


def _fill(cfg: SampleConfig, pair: Pair, store: Store, manifest: Manifest, seeds: list[int]) -> None:
    """Sample what is missing of these seeds; a batch is encoded and written while the next ones are computed."""
    missing = _missing(store, seeds)
    if len(missing) < len(seeds):
        print(f"{cfg.outdir}: {len(seeds) - len(missing)} of {len(seeds)} images are there already")
    with progress_bar(len(missing), "sample", disable=not missing or not is_first_rank()) as bar:

        def write(copied: Callable[[], Samples]) -> None:
            samples = copied()
            manifest.check()
            store.add(samples)
            bar.update(len(samples.seeds))

        with Behind(write) as writer:
            for samples in pair.sample(
                missing, cfg.sampler, cfg.batch_size, cfg.label, cfg.labels, on_halved=manifest.note_halved
            ):
                writer.put(on_host(samples, cfg.latents))


def _missing(store: Store, seeds: list[int]) -> list[int]:
    held = store.held()
    return [seed for seed in seeds if seed not in held]


def _finish(cfg: SampleConfig, pair: Pair, store: Store, manifest: Manifest) -> None:
    """Sheets to look at, and the manifest with a hash of every image."""
    images = store.images()
    write_looks(cfg, pair, images)
    hashes = {seed: hashlib.sha256(images.content(seed)).hexdigest() for seed in images.seeds}
    manifest.complete(hashes, classes(images.seeds, pair.shape, pair.label_dim, cfg.label, cfg.labels))
    print(f"{len(hashes)} images in {cfg.outdir}; look at {Path(cfg.outdir) / 'contact_sheet.png'}")
