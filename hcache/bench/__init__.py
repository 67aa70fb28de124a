"""What hcache costs, beside what people use today: each figure is a ratio, measured in one run on one machine."""
