"""The cost of hcache on this machine, where possible as a ratio to common alternatives."""
