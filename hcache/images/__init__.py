"""Pictures: read, brought to sRGB and to a size, and written as PNG files."""
