"""Processes and hosts: joining, agreeing, being preempted, reporting progress."""
