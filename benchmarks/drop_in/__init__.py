"""Ray Tune's own examples, run with their imports changed."""
