"""The host side of a model: many prompts on few decode slots, training steps over devices."""
