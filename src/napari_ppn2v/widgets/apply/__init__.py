"""The dock that applies trained models."""
