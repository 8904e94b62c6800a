"""The host side of a model: many prompts on few slots, training steps over devices."""
