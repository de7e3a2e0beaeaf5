"""Guidance: functions from denoisers to a denoiser, one idea a file. They know the denoiser contract and nothing else."""
