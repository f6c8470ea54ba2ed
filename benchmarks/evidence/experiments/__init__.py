"""An experiment each: what is run, and the tables and figures made of it."""
