"""Kills, full disks, little memory: what a run must survive."""
