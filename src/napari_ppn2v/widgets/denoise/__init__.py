"""The dock that denoises, its run, and what can follow."""
