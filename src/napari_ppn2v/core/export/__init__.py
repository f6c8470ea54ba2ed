"""A denoiser as one TorchScript module, for programs that know nothing of ours."""
