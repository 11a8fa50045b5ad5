"""The main job on real data: `scripts/demo`."""
