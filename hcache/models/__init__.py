"""Loading models and cutting their U-Nets in two."""
