"""Export of a trained model for other programs, in every dock that holds one."""
