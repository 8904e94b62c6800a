"""What several tests need: tiny runs, stand-ins for servers and buckets, data sets."""
