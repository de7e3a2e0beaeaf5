"""The EDM2 network, config G (Karras et al. 2024a, arXiv 2312.02696): magnitude-preserving layers, UNet, denoiser."""
