"""The docks of the viewer and what they are made of; nothing here computes."""
