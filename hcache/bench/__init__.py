"""What hcache costs, measured on the machine it runs on; wherever it can be, as a ratio to what
people use today.
"""
